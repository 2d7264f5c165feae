// A small curve in SVG.

const NS = "http://www.w3.org/2000/svg";

function path(className, d) {
  const element = document.createElementNS(NS, "path");
  element.setAttribute("class", className);
  element.setAttribute("d", d);
  return element;
}

/// `values` from left to right; the label is for those who do not see it.
export function curve(values, label) {
  const svg = document.createElementNS(NS, "svg");
  svg.setAttribute("class", "curve");
  svg.setAttribute("viewBox", "0 0 300 80");
  svg.setAttribute("preserveAspectRatio", "none");
  svg.setAttribute("role", "img");
  svg.setAttribute("aria-label", label);
  const shown = values.length > 1 ? values : [values[0] ?? 0, values[0] ?? 0];
  const most = Math.max(...shown), least = Math.min(...shown);
  const spread = most - least || 1;
  const points = shown.map((value, n) => {
    const x = (n / (shown.length - 1)) * 300;
    const y = most === least ? 60 : 74 - ((value - least) / spread) * 66;
    return `${x.toFixed(1)},${y.toFixed(1)}`;
  });
  svg.append(path("area", `M0,80L${points.join("L")}L300,80Z`), path("stroke", `M${points.join("L")}`));
  return svg;
}
