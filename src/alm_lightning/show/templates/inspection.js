// Details of a chunk: shown on pointing, on tapping and on focus. Text goes in as text, never as markup.
(() => {
  const drawing = document.getElementById("drawing");
  const detail = document.getElementById("detail");
  const groups = [...drawing.querySelectorAll(".g")];
  const labels = { n: "chunk", r: "bytes", x: "hex", s: "student ids", t: "teacher ids", w: "note" };
  let current = null;

  function show(group) {
    if (!group || group === current) return;
    if (current) current.classList.remove("on");
    current = group;
    group.classList.add("on");
    const list = document.createElement("dl");
    for (const [key, label] of Object.entries(labels)) {
      if (!group.dataset[key]) continue;
      const term = document.createElement("dt");
      const value = document.createElement("dd");
      term.textContent = label;
      value.textContent = group.dataset[key];
      list.append(term, value);
    }
    detail.replaceChildren(list);
    detail.hidden = false;
  }

  // one stop for the tab key, wherever the reader was last
  function stop(group) {
    for (const other of drawing.querySelectorAll("[tabindex='0']")) other.tabIndex = -1;
    group.tabIndex = 0;
  }

  const steps = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 };
  drawing.addEventListener("pointerover", (event) => show(event.target.closest(".g")));
  drawing.addEventListener("focusin", (event) => {
    const group = event.target.closest(".g");
    if (!group) return;
    stop(group);
    show(group);
  });
  drawing.addEventListener("keydown", (event) => {
    const next = groups[groups.indexOf(event.target.closest(".g")) + steps[event.key]];
    if (!next) return;
    event.preventDefault();
    stop(next);
    next.focus();
  });
  for (const group of groups) group.tabIndex = -1;
  if (groups.length) groups[0].tabIndex = 0;
  for (const hint of document.querySelectorAll(".live")) hint.hidden = false;
})();
