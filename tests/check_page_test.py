"""The look at pages in a browser: it sees what is wrong. Needs PySide6."""

import importlib.util
import subprocess
import sys

import binaries
import pytest

from experiments import report_page

BAD = """<!DOCTYPE html><html><head><style>a { color: #ccc } :focus {
outline: none }</style></head><body><h2>x</h2><p style="width: 900px">wide</p>
<img src="https://example.org/x.png"><a href="#no">first</a><a tabindex="2"
href="#no">second</a><script>no()</script></body></html>"""


def _look(path):
  script = binaries.ROOT / "experiments" / "check_page.py"
  return subprocess.run(
    [sys.executable, str(script), str(path)], capture_output=True, text=True
  )


@pytest.mark.skipif(
  importlib.util.find_spec("PySide6") is None, reason="PySide6 is not installed"
)
def test_pages_in_a_browser(tmp_path):
  good, bad = tmp_path / "good.html", tmp_path / "bad.html"
  good.write_text(
    f"{report_page.top('A page')}<p>Words and <a href='#here'>a link</a>.</p>"
    '<div class="scroll" role="region" tabindex="0" aria-label="numbers">'
    f"<table><tr>{'<td>12345678</td>' * 40}</tr></table></div><details>"
    '<summary id="here">More</summary>Text.</details></body></html>'
  )
  result = _look(good)
  assert result.returncode == 0, result.stdout
  assert result.stdout.count("nothing wrong") == 2
  bad.write_text(BAD)
  result = _look(bad)
  assert result.returncode == 1
  for words in (
    "375 px, dark: scrolls sideways", "a picture is not drawn",
    "no alternative text", "no title or no language", "headings skip a level",
    "#no leads nowhere", "A stands out by 1.6 to 1 only",
    "the focus does not show", "Tab goes from -1 to 1",
    "asks for https://example.org/x.png", "complaint: ",
  ):  # fmt: skip
    assert words in result.stdout
