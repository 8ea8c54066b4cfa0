"""What every page of the project must be, read from its text.

`experiments/check_page.py` looks at pages in a browser; this sees what needs
none: that nothing is fetched, that pictures have words, that links lead
somewhere and what scrolls can be reached by keyboard.
"""

import html.parser
import re


class _Page(html.parser.HTMLParser):
  def __init__(self):
    super().__init__()
    self.tags = []

  def handle_starttag(self, tag, attrs):
    self.tags.append((tag, dict(attrs)))


def check(text):
  """Raises AssertionError; returns the tags with their attributes."""
  page = _Page()
  page.feed(text)
  ids = [found["id"] for _, found in page.tags if "id" in found]
  assert len(ids) == len(set(ids))
  for tag, found in page.tags:
    assert tag not in ("script", "link", "iframe", "object", "form", "base")
    assert not [name for name in found if name.startswith("on")]
    for name in ("src", "href", "srcset", "action", "poster"):
      place = found.get(name, "#")
      inside = place.startswith("#") and place[1:] in ["", *ids]
      assert inside or place.startswith("data:image/png;base64,")
    if tag == "img":
      assert found["alt"].strip()
    if "scroll" in found.get("class", "").split():
      assert found["tabindex"] == "0" and found["aria-label"].strip()
      assert found["role"] == "region"
    assert found.get("tabindex", "0") == "0"
  tags = dict(page.tags)
  assert tags["html"]["lang"] and "title" in tags
  metas = [found for tag, found in page.tags if tag == "meta"]
  policies = [found["content"] for found in metas if "http-equiv" in found]
  assert len(policies) == 1 and "default-src 'none'" in policies[0]
  (viewport,) = [f["content"] for f in metas if f.get("name") == "viewport"]
  assert "width=device-width" in viewport and "scalable" not in viewport
  (style,) = re.findall(r"<style>(.*?)</style>", text, re.DOTALL)
  assert "prefers-color-scheme: dark" in style
  assert "color-scheme: light dark" in style
  assert "url(" not in style and "@import" not in style
  assert "outline" not in style  # The browser's own ring of the focus.
  return page.tags
