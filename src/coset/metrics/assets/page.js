"use strict";
// The viewer of the page. Text from files only ever enters through textContent.
(() => {
  const find = (id) => document.getElementById(id);
  const molecules = JSON.parse(find("molecules").textContent);
  const [stage, view, about] = [find("stage"), find("view"), find("about")];
  const narrow = window.matchMedia("(max-width: 940px)");
  let viewer = null, chosen = -1, caller = null, numbered = false, spinning = false;

  const make = (tag, text, name) => {
    const element = document.createElement(tag);
    if (text !== undefined) element.textContent = text;
    if (name) element.className = name;
    return element;
  };
  const state = (text) => { document.documentElement.dataset.viewer = text; };

  // 3Dmol.js is half a megabyte: read when the first molecule is asked for, not before.
  function start() {
    if (viewer || state.failed) return;
    try {
      const script = make("script", find("library").textContent);
      document.head.append(script);
      viewer = window.$3Dmol.createViewer(view, { antialias: true, disableFog: true });
      if (!viewer) throw new Error("no WebGL");
    } catch {
      viewer = null;
      state.failed = true;
      view.replaceChildren(make("p", "This browser offers no WebGL, which the 3D view needs."));
      state("unavailable");
    }
  }

  function paint() {
    if (viewer) viewer.setBackgroundColor(getComputedStyle(document.body).getPropertyValue("--raised").trim());
  }

  function draw(molecule) {
    if (!viewer) return;
    paint();
    viewer.removeAllModels(); viewer.removeAllShapes(); viewer.removeAllLabels();
    const atoms = molecule.atoms.map(([elem, x, y, z], serial) => ({ elem, x, y, z, serial, bonds: [], bondOrder: [] }));
    for (const [i, j, order] of molecule.bonds) {
      atoms[i].bonds.push(j); atoms[i].bondOrder.push(order);
      atoms[j].bonds.push(i); atoms[j].bondOrder.push(order);
    }
    viewer.addModel().addAtoms(atoms);
    viewer.setStyle({}, { stick: { radius: 0.11, colorscheme: "Jmol" }, sphere: { scale: 0.24, colorscheme: "Jmol" } });
    for (const i of molecule.unstable) {
      viewer.addSphere({ center: atoms[i], radius: 0.72, color: "#ff5a3c", opacity: 0.45 });
    }
    if (numbered) {
      const style = { fontSize: 12, fontColor: "#17202c", backgroundColor: "#ffffff", backgroundOpacity: 0.75, inFront: true };
      atoms.forEach((atom, i) => {
        if (atom.elem === "H" && !molecule.unstable.includes(i)) return;
        viewer.addLabel(`${atom.elem}${i + 1}`, { ...style, position: atom, alignment: "center" });
      });
    }
    viewer.resize(); viewer.zoomTo(); viewer.render();
    state("ready");
  }

  function tell(molecule) {
    const flags = make("div", undefined, "flags");
    for (const [name, holds] of molecule.flags) flags.append(make("span", name, `flag ${holds ? "yes" : "no"}`));
    const title = make("h3", `No. ${molecule.place}: `);
    for (const part of molecule.formula.split(/(\d+)/)) title.append(/\d/.test(part) ? make("sub", part) : part);
    const reasons = make("ul"), tags = make("dl");
    for (const reason of molecule.reasons) reasons.append(make("li", reason));
    for (const [name, value] of molecule.tags) tags.append(make("dt", name), make("dd", value));
    about.replaceChildren(title, flags, reasons, make("code", molecule.smiles), tags);
    view.setAttribute("aria-label", `Molecule ${molecule.place}, ${molecule.formula}, in three dimensions`);
  }

  function choose(place) {
    chosen = (place + molecules.length) % molecules.length;
    stage.dataset.state = "open";
    for (const figure of document.querySelectorAll(".molecule")) {
      figure.classList.toggle("chosen", Number(figure.dataset.molecule) === chosen);
    }
    start();
    tell(molecules[chosen]);
    draw(molecules[chosen]);
  }

  function close() {
    stage.dataset.state = "closed";
    if (caller) caller.focus();
  }

  function press(button, on) { button.setAttribute("aria-pressed", String(on)); }

  document.addEventListener("click", (event) => {
    const figure = event.target.closest(".molecule");
    if (!figure || !event.target.closest("button")) return;
    caller = event.target.closest("button");
    choose(Number(figure.dataset.molecule));
    if (narrow.matches) find("close").focus({ preventScroll: true });
  });
  find("previous").addEventListener("click", () => choose(chosen - 1));
  find("next").addEventListener("click", () => choose(chosen + 1));
  find("close").addEventListener("click", close);
  find("numbers").addEventListener("click", () => {
    numbered = !numbered;
    press(find("numbers"), numbered);
    choose(Math.max(chosen, 0));
  });
  find("spin").addEventListener("click", () => {
    if (chosen < 0) choose(0);
    spinning = !spinning;
    press(find("spin"), spinning);
    if (viewer) viewer.spin(spinning ? "y" : false, 0.6);
  });
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape" && narrow.matches && stage.dataset.state === "open") close();
  });
  view.addEventListener("keydown", (event) => {
    const turns = { ArrowLeft: [-12, "y"], ArrowRight: [12, "y"], ArrowUp: [-12, "x"], ArrowDown: [12, "x"] };
    const zooms = { "+": 1.15, "=": 1.15, "-": 0.87 };
    if (!viewer || !(event.key in turns || event.key in zooms)) return;
    event.preventDefault();
    if (event.key in turns) viewer.rotate(...turns[event.key]);
    else viewer.zoom(zooms[event.key]);
  });
  // A plain wheel scrolls the page, whatever lies under it.
  view.addEventListener("wheel", (event) => { if (!event.ctrlKey) event.stopImmediatePropagation(); }, { capture: true });
  window.addEventListener("resize", () => { if (viewer) { viewer.resize(); viewer.render(); } });

  window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", paint);

  if (!molecules.length) { stage.hidden = true; return; }
  const wanted = /^#m(\d+)$/.exec(window.location.hash);
  const place = wanted ? molecules.findIndex((molecule) => molecule.place === Number(wanted[1])) : -1;
  if (place >= 0) choose(place);
  else if (!narrow.matches && "IntersectionObserver" in window) {
    const watcher = new IntersectionObserver((entries) => {
      if (!entries.some((entry) => entry.isIntersecting)) return;
      watcher.disconnect();
      if (chosen < 0 && !narrow.matches) choose(0);
    });
    watcher.observe(view);
  }
})();
