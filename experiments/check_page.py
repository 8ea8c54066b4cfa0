"""Looks at a page as a reader does: in Chromium, by keyboard, on a phone.

  pip install PySide6 && python experiments/check_page.py PAGE.html

PySide6, which has a Chromium, is no dependency of this project. At 1280 and at
375 pixels, light and dark, it checks that nothing is fetched, that no script
fails, that the page does not scroll sideways, that pictures are drawn and have
words, that text stands out from what is behind it (WCAG 2.2, 4.5 to 1), that
Tab reaches all that can be used, in order and visibly, and that keys open the
details and scroll the tables. Prints what is wrong and exits with 1.
"""

import json
import os
import pathlib
import subprocess
import sys

SCHEMES = ("dark", "light")  # In Blink's order.
SCHEME = os.environ.get("CHECK_PAGE_SCHEME", "light")  # A process for each.
os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
os.environ["QTWEBENGINE_CHROMIUM_FLAGS"] = (
  "--no-sandbox --disable-gpu --blink-settings=preferredColorScheme="
  f"{SCHEMES.index(SCHEME)}"
)

from PySide6.QtCore import QEventLoop, Qt, QTimer, QUrl  # noqa: E402
from PySide6.QtTest import QTest  # noqa: E402
from PySide6.QtWebEngineCore import (  # noqa: E402
  QWebEnginePage,
  QWebEngineSettings,
  QWebEngineUrlRequestInterceptor,
)
from PySide6.QtWebEngineWidgets import QWebEngineView  # noqa: E402
from PySide6.QtWidgets import QApplication  # noqa: E402

SIZES = ((1280, 800), (375, 740))
# What is wrong with the page as it stands, a list of strings.
LAYOUT = """(() => {
  const wrong = [], root = document.documentElement;
  if (root.scrollWidth > innerWidth)
    wrong.push(`scrolls sideways: ${root.scrollWidth} of ${innerWidth} pixels`);
  for (const image of document.images) {
    if (!image.naturalWidth) wrong.push('a picture is not drawn');
    if (!image.alt.trim()) wrong.push('a picture has no alternative text');
  }
  if (!document.title || !root.lang) wrong.push('no title or no language');
  const ids = [...document.querySelectorAll('[id]')].map(e => e.id);
  if (new Set(ids).size < ids.length) wrong.push('ids are not unique');
  for (const link of document.querySelectorAll('a[href^="#"]'))
    if (!document.getElementById(link.hash.slice(1)))
      wrong.push(`${link.hash} leads nowhere`);
  const levels = [...document.querySelectorAll('h1,h2,h3,h4')].map(
    e => +e.tagName[1]);
  if (levels[0] != 1 || levels.some((l, i) => i && l > levels[i - 1] + 1))
    wrong.push(`headings skip a level: ${levels}`);
  const light = text => {
    const [r, g, b] = text.match(/[\\d.]+/g).map(Number).map(v => v / 255).map(
      v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const behind = e => {
    for (; e; e = e.parentElement) {
      const colour = getComputedStyle(e).backgroundColor;
      if (colour != 'rgba(0, 0, 0, 0)') return colour;
    }
    return 'rgb(255, 255, 255)';
  };
  for (const e of document.querySelectorAll('body, body *')) {
    if (![...e.childNodes].some(n => n.nodeType == 3 && n.data.trim()))
      continue;
    const [a, b] = [light(getComputedStyle(e).color), light(behind(e))];
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (ratio < 4.5)
      wrong.push(`${e.tagName} stands out by ${ratio.toFixed(1)} to 1 only`);
  }
  return JSON.stringify([...new Set(wrong)]);
})()"""
USED = "a[href], summary, [tabindex='0']"
# Where the focus is: its place among what can be used, and how it shows.
FOCUS = f"""(() => {{
  const e = document.activeElement, style = getComputedStyle(e);
  const shown = [...document.querySelectorAll("{USED}")].filter(
    one => one.checkVisibility());
  const box = e.getBoundingClientRect();
  return JSON.stringify([shown.indexOf(e), shown.length, e.tagName,
    style.outlineStyle != 'none' && parseFloat(style.outlineWidth) > 0,
    box.bottom > 0 && box.top < innerHeight, e.open ?? e.parentElement?.open,
    e.scrollLeft, e.scrollWidth > e.clientWidth]);
}})()"""


class _Requests(QWebEngineUrlRequestInterceptor):
  """Remembers what the page asks of anybody else."""

  def __init__(self):
    super().__init__()
    self.found = []

  def interceptRequest(self, info):  # noqa: N802, D102
    if info.requestUrl().scheme() not in ("data", "file"):
      self.found.append(info.requestUrl().toString())


class _Page(QWebEnginePage):
  """Remembers what scripts and the policy of the page complain of."""

  def __init__(self, parent):
    super().__init__(parent)
    self.complaints = []

  def javaScriptConsoleMessage(self, level, text, line, source):  # noqa: N802, D102
    self.complaints.append(text)


def _wait(milliseconds):
  loop = QEventLoop()
  QTimer.singleShot(milliseconds, loop.quit)
  loop.exec()


class Browser:
  """A page in a window of a size."""

  def __init__(self, size):
    """Opens an empty window."""
    self._view, self.requests = QWebEngineView(), _Requests()
    self.page = _Page(self._view)
    self.page.setUrlRequestInterceptor(self.requests)
    remote = QWebEngineSettings.WebAttribute.LocalContentCanAccessRemoteUrls
    self.page.settings().setAttribute(remote, True)  # Else none is asked for.
    self._view.setPage(self.page)
    self._view.resize(*size)
    self._view.show()
    self._view.activateWindow()

  def load(self, path):
    """Waits for the page."""
    loop = QEventLoop()
    self.page.loadFinished.connect(loop.quit)
    QTimer.singleShot(20_000, loop.quit)
    self.page.load(QUrl.fromLocalFile(str(path.resolve())))
    loop.exec()
    _wait(500)
    self._view.setFocus()

  def ask(self, script):
    """What a script returns, from JSON."""
    loop, found = QEventLoop(), []
    self.page.runJavaScript(script, lambda v: (found.append(v), loop.quit()))
    QTimer.singleShot(10_000, loop.quit)
    loop.exec()
    return json.loads(found[0])

  def press(self, key):
    """A key, as from a keyboard."""
    target = self._view.focusProxy() or self._view
    QTest.keyClick(target, key)
    _wait(60)


def _keyboard(browser) -> list[str]:
  """Goes through the page by Tab, opens details, scrolls tables."""
  wrong, place, opened = [], -1, 0
  for _ in range(500):
    browser.press(Qt.Key.Key_Tab)
    now, count, tag, ring, seen, is_open, left, wide = browser.ask(FOCUS)
    if now < 0:
      if place + 1 < count:
        wrong.append(f"Tab reaches {place + 1} of {count} things, then {tag}")
      break
    if now != place + 1:
      wrong.append(f"Tab goes from {place} to {now}")
    if not ring or not seen:
      wrong.append(f"{tag} {now}: the focus does not show")
    place = now
    if tag == "SUMMARY" and not is_open:
      browser.press(Qt.Key.Key_Return)
      opened += 1
      if not browser.ask(FOCUS)[5]:
        wrong.append("Return does not open the details")
    if tag in ("DIV", "PRE") and wide:
      browser.press(Qt.Key.Key_Right)
      _wait(400)
      if browser.ask(FOCUS)[6] <= left:
        wrong.append("an arrow key does not scroll the table")
  if place < 0:
    wrong.append("nothing can be reached by keyboard")
  return wrong


def check(path: pathlib.Path) -> list[str]:
  """What is wrong with a page, each with the window and the scheme."""
  wrong = []
  for size in SIZES:
    browser = Browser(size)
    browser.load(path)
    query = f"matchMedia('(prefers-color-scheme: {SCHEME})').matches"
    found = [] if browser.ask(f"String({query})") else ["no such scheme"]
    found += browser.ask(LAYOUT)
    found += _keyboard(browser)
    found += browser.ask(LAYOUT)  # With the details open.
    found += [f"asks for {url}" for url in browser.requests.found]
    found += [f"complaint: {text}" for text in browser.page.complaints]
    where = f"{path.name}, {size[0]} px, {SCHEME}"
    wrong += [f"{where}: {text}" for text in dict.fromkeys(found)]
  return wrong


def main(paths: list[str]) -> int:
  """Checks pages; the exit status."""
  if not paths:
    print("expected: check_page.py PAGE.html ...", file=sys.stderr)
    return 2
  if "CHECK_PAGE_SCHEME" not in os.environ:
    found = [
      subprocess.run(
        [sys.executable, __file__, *paths],
        env=os.environ | {"CHECK_PAGE_SCHEME": scheme},
      ).returncode
      for scheme in SCHEMES
    ]
    return max(found)
  application = QApplication(sys.argv[:1])
  wrong = [text for path in paths for text in check(pathlib.Path(path))]
  del application
  told = f"{SCHEME}, {len(paths)} pages: nothing wrong"
  print(*wrong or [told], sep="\n")
  return int(bool(wrong))


if __name__ == "__main__":
  sys.exit(main(sys.argv[1:]))
