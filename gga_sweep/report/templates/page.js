"use strict";
/* Adds to a page that is complete without it: switching arms off, highlighting them, sorting and filtering tables. */
(() => {
  const all = (selector, within = document) => [...within.querySelectorAll(selector)];
  const bar = document.getElementById("arms");
  const arms = all(".arm", bar);
  const off = new Set();

  const show = () => {
    for (const arm of arms) arm.setAttribute("aria-pressed", String(!off.has(arm.dataset.key)));
    for (const part of all("[data-arm]")) part.classList.toggle("off", off.has(part.dataset.arm));
  };
  const button = (text, act) => {
    const made = document.createElement("button");
    made.type = "button";
    made.textContent = text;
    made.addEventListener("click", act);
    return made;
  };
  for (const arm of arms) {
    arm.setAttribute("role", "button");
    arm.tabIndex = 0;
    const turn = () => {
      const { key } = arm.dataset;
      if (!off.delete(key)) off.add(key);
      show();
    };
    arm.addEventListener("click", turn);
    arm.addEventListener("keydown", (event) => {
      if (event.key !== "Enter" && event.key !== " ") return;
      event.preventDefault();
      turn();
    });
    arm.addEventListener("dblclick", () => {
      for (const { dataset } of arms) off.add(dataset.key);
      off.delete(arm.dataset.key);
      show();
    });
  }
  const filter = document.createElement("input");
  filter.type = "search";
  filter.placeholder = "Filter the rows of tables";
  filter.setAttribute("aria-label", filter.placeholder);
  filter.addEventListener("input", () => {
    const text = filter.value.trim().toLowerCase();
    for (const row of all("tbody tr")) row.classList.toggle("missed", !row.textContent.toLowerCase().includes(text));
  });
  bar.append(button("All arms", () => (off.clear(), show())), filter);
  show();

  const light = (key) => {
    for (const part of all("svg [data-arm]")) part.classList.toggle("dim", key !== undefined && part.dataset.arm !== key);
    for (const row of all("tr[data-arm]")) row.classList.toggle("lit", row.dataset.arm === key);
  };
  const keyOf = (target) => {
    const part = target.closest?.("[data-arm], [data-key]");
    return part?.dataset.arm ?? part?.dataset.key;
  };
  let lit;
  document.addEventListener("pointerover", ({ target }) => {
    const key = keyOf(target);
    if (key !== lit) light((lit = key));
  });

  const value = (row, column) => {
    const cell = row.cells[column];
    return (cell.querySelector(".mark")?.nextSibling ?? cell).textContent.trim();
  };
  const numeric = (text) => parseFloat(text.replace(/,/g, "").replace("\u2212", "-").replace(/^</, ""));
  const compare = (a, b) => {
    const [x, y] = [numeric(a), numeric(b)];
    if (Number.isNaN(x) || Number.isNaN(y)) {
      return Number.isNaN(x) - Number.isNaN(y) || a.localeCompare(b, "en", { numeric: true });
    }
    return x - y;
  };
  for (const table of all("table")) {
    const body = table.tBodies[0];
    const rows = [...body.rows];
    const heads = all("thead th", table);
    if (rows.length < 2) continue;
    heads.forEach((head, column) => {
      const sort = button("", () => {
        const next = { none: "descending", descending: "ascending", ascending: "none" }[head.ariaSort ?? "none"];
        for (const other of heads) other.ariaSort = "none";
        head.ariaSort = next;
        const sign = next === "ascending" ? 1 : -1;
        const sorted = [...rows];
        if (next !== "none") sorted.sort((a, b) => sign * compare(value(a, column), value(b, column)));
        body.append(...sorted);
      });
      sort.append(...head.childNodes);
      head.append(sort);
      head.ariaSort = "none";
    });
  }

  const open = () => {
    const target = location.hash && document.getElementById(decodeURIComponent(location.hash.slice(1)));
    const folded = target && target.querySelector(":scope > details");
    if (folded) folded.open = true;
  };
  addEventListener("hashchange", open);
  open();
})();
