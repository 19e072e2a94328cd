
const OPEN = 2;
const tabs = [...document.querySelectorAll("[role=tab]")];
const panels = tabs.map((tab) => document.getElementById(tab.getAttribute("aria-controls")));

function choose(number, focus) {
  tabs.forEach((tab, n) => {
    tab.setAttribute("aria-selected", String(n === number));
    tab.tabIndex = n === number ? 0 : -1;
    panels[n].hidden = n !== number;
  });
  if (focus) tabs[number].focus();
}

if (matchMedia("(max-width: 40rem)").matches) // the first answers are read at once, the others are opened
  for (const list of document.querySelectorAll(".answers"))
    [...list.querySelectorAll("details")].slice(OPEN).forEach((each) => { each.open = false; });

function chooseNamed() { // the tab of the address, or of the part of it that the address names
  const target = location.hash && document.getElementById(decodeURIComponent(location.hash.slice(1)));
  const number = target ? panels.findIndex((panel) => panel.contains(target)) : -1;
  if (number < 0) return false;
  choose(number);
  target.scrollIntoView();
  return true;
}

function follow() { // a link, or the way back: the keyboard goes on where the page shows
  if (chooseNamed()) {
    const panel = panels.find((each) => !each.hidden);
    panel.tabIndex = -1;
    panel.focus({ preventScroll: true });
  } else if (!location.hash) choose(0);
}

if (tabs.length) {
  document.querySelector(".plain-tabs").hidden = true;
  tabs[0].parentElement.hidden = false;
  tabs.forEach((tab, n) => {
    tab.addEventListener("click", () => {
      choose(n);
      history.replaceState(null, "", `#${panels[n].id}`);
    });
    tab.addEventListener("keydown", (event) => {
      const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
      const end = { Home: 0, End: tabs.length - 1 }[event.key];
      if (step === undefined && end === undefined) return;
      event.preventDefault();
      const next = end ?? (n + step + tabs.length) % tabs.length;
      choose(next, true);
      history.replaceState(null, "", `#${panels[next].id}`);
    });
  });
  if (!chooseNamed()) choose(0);
  addEventListener("hashchange", follow);
}
