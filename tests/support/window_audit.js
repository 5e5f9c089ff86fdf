// SPDX-License-Identifier: GPL-3.0-or-later
// Complaints about the page that is shown, in sentences: an expression for `Chromium.run`.
(() => {
  const found = [];
  const seen = (element) => element.checkVisibility({ visibilityProperty: true, opacityProperty: true }) && element.getClientRects().length;
  const place = (element) => `${element.tagName.toLowerCase()} "${(element.innerText || element.value || element.id).slice(0, 40)}"`;
  const rgb = (text) => { const parts = text.match(/[\d.]+/g).map(Number); return parts.length < 4 ? [...parts, 1] : parts; };
  const behind = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const color = rgb(getComputedStyle(at).backgroundColor);
      if (color[3] === 1) return color;
    }
    return [255, 255, 255, 1];
  };
  const light = (color) => {
    const [r, g, b] = color.map((value) => { const part = value / 255; return part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4; });
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const ratio = (one, two) => { const [high, low] = [light(one), light(two)].sort((a, b) => b - a); return (high + 0.05) / (low + 0.05); };
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (let node = walker.nextNode(); node; node = walker.nextNode()) {
    const parent = node.parentElement;
    if (!node.data.trim() || !seen(parent) || parent.closest("svg, .hidden, option")) continue;
    const style = getComputedStyle(parent);
    const large = parseFloat(style.fontSize) >= 24 || (parseFloat(style.fontSize) >= 18.66 && parseInt(style.fontWeight) >= 700);
    const got = ratio(rgb(style.color), behind(parent));
    if (got < (large ? 3 : 4.5)) found.push(`contrast ${got.toFixed(2)} of ${place(parent)}`);
  }
  const ids = [...document.querySelectorAll("[id]")].map((element) => element.id);
  found.push(...ids.filter((id, at) => ids.indexOf(id) !== at).map((id) => `the id ${id} twice`));
  for (const element of document.querySelectorAll("[aria-labelledby], [aria-describedby]")) {
    const named = `${element.getAttribute("aria-labelledby") ?? ""} ${element.getAttribute("aria-describedby") ?? ""}`.trim().split(/\s+/);
    found.push(...named.filter((id) => !ids.includes(id)).map((id) => `${place(element)} names ${id}, which is not there`));
  }
  for (const element of document.querySelectorAll("button, a[href], summary")) {
    const label = element.getAttribute("aria-label");
    if (label && !label.toLowerCase().includes(element.textContent.trim().toLowerCase())) found.push(`${place(element)} is called "${label}"`);
  }
  for (const element of document.querySelectorAll("input, select, textarea")) {
    if (!element.labels?.length && !element.getAttribute("aria-label")) found.push(`${place(element)} has no label`);
  }
  const levels = [...document.querySelectorAll("h1, h2, h3, h4")].filter(seen).map((element) => Number(element.tagName[1]));
  if (levels.filter((level) => level === 1).length !== 1) found.push(`${levels} are the headings`);
  levels.forEach((level, at) => { if (at && level > levels[at - 1] + 1) found.push(`a heading of level ${level} after ${levels[at - 1]}`); });
  for (const element of document.querySelectorAll("table")) {
    if (!element.caption || !element.querySelector("th[scope]")) found.push(`${place(element)} has no caption or headers`);
  }
  if (document.documentElement.scrollWidth > innerWidth) {
    const wide = [...document.querySelectorAll("main *")].filter((element) => element.getBoundingClientRect().right > innerWidth + 1);
    found.push(`the page is ${document.documentElement.scrollWidth} wide of ${innerWidth}: ${wide.slice(0, 3).map(place)}`);
  }
  if (!document.documentElement.lang || !document.title) found.push("the page has no language or title");
  return found;
})()
