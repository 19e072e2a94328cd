
for (const button of document.querySelectorAll("button[data-open]")) {
  const all = [...document.querySelectorAll(`details[data-group="${button.dataset.open}"]`)];
  button.addEventListener("click", () => {
    const open = all.some((one) => !one.open);
    for (const one of all) one.open = open;
    button.textContent = open ? "Close all" : "Open all";
  });
}

function openTarget() {
  const target = document.getElementById(decodeURIComponent(location.hash.slice(1)));
  if (!target || !(target instanceof HTMLDetailsElement)) return;
  target.open = true;
  target.scrollIntoView();
}
addEventListener("hashchange", openTarget);
openTarget();
