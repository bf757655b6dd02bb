// A chart by hour or day, drawn by Chart.js, and the same numbers as a table for those who do not see it.

import "./third_party/chart.js/chart.umd.min.js"; // which makes `Chart`

import { element, keepChildren, setText } from "./dom.js";
import { moreOf, wordsOf } from "./spans.js";
import { count, day, hour, percent } from "./words.js";

const { Chart } = globalThis;
const DARK = matchMedia("(prefers-color-scheme: dark)");
const PERCENT_AXES = [99, 95, 90, 80, 50, 0]; // where an axis may begin, so that what is near 100 % can be told apart
const made = new Set();

const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

DARK.addEventListener("change", () => made.forEach((chart) => chart.recolour()));

export class UsageChart {
  // `frame` is the element that it is put into; `kind` is bar (stacked) or line. A series is {label, colour, of}, where
  // `colour` names a variable of styles.css, and `of(time)` is a number of an hour or day, or null for none.
  constructor(frame, { title, kind, series, isPercent = false }) {
    Object.assign(this, { title, kind, series, write: isPercent ? percent : count, isPercent, times: [] });
    this.canvas = element("canvas", { role: "img" });
    this.table = element("div", {
      class: "table-frame",
      role: "region",
      tabIndex: 0,
      "aria-label": `${title}: numbers`,
    });
    const details = element("details", {}, element("summary", {}, `${title} as a table`), this.table);
    details.addEventListener("toggle", () => details.open && this.#fillTable());
    this.details = details;
    this.canvasFrame = element("div", { class: "canvas-frame" }, this.canvas);
    this.none = element("p", { class: "canvas-frame none hint" }, "Nothing in this time.");
    const parts = [element("h3", {}, title), this.canvasFrame, this.none, details];
    this.figure = element("figure", { class: "chart card" }, ...parts);
    frame.append(this.figure);
    this.chart = new Chart(this.canvas, this.#configuration());
    this.recolour();
    made.add(this);
  }

  // Shows these hours or days (see `readUsage`) of a span (see `spanOf`).
  show(times, span) {
    Object.assign(this, { times, span });
    const isEmpty = !times.some((time) => this.#hasNumbers(time));
    for (const part of [this.canvasFrame, this.details]) part.hidden = isEmpty;
    this.none.hidden = !isEmpty;
    const { data, options } = this.chart;
    data.labels = times.map(({ start }) => start);
    this.series.forEach(({ of }, index) => (data.datasets[index].data = times.map(of)));
    if (this.isPercent) {
      const lowest = Math.min(...times.map(this.series[0].of).filter((value) => value !== null));
      options.scales.y.min = PERCENT_AXES.find((start) => start <= lowest);
    }
    this.chart.update();
    this.canvas.setAttribute("aria-label", this.#summary());
    if (this.details.open) this.#fillTable();
  }

  remove() {
    made.delete(this);
    this.chart.destroy();
    this.figure.remove();
  }

  recolour() {
    const { options, data } = this.chart;
    data.datasets.forEach((set, index) => {
      set.backgroundColor = set.borderColor = colour(this.series[index].colour);
    });
    options.color = colour("--text");
    for (const scale of Object.values(options.scales)) {
      scale.ticks.color = colour("--muted");
      scale.grid.color = scale.border.color = colour("--line");
    }
    const { tooltip } = options.plugins;
    tooltip.backgroundColor = colour("--text");
    tooltip.titleColor = tooltip.bodyColor = colour("--card");
    this.chart.update();
  }

  #configuration() {
    const isBar = this.kind === "bar";
    const datasets = this.series.map(({ label }) => ({
      label,
      data: [],
      borderWidth: isBar ? 0 : 2,
      pointRadius: isBar ? 0 : 3,
      clip: false,
      categoryPercentage: 0.92,
      barPercentage: 1,
    }));
    return {
      type: this.kind,
      data: { labels: [], datasets },
      plugins: [{ id: "partial", beforeDatasetsDraw: (chart) => this.#shadePartial(chart) }],
      options: {
        animation: false,
        maintainAspectRatio: false,
        onClick: (_event, [item]) => item && (location.hash = moreOf(this.span.isByDay, this.times[item.index])),
        interaction: { mode: "index", intersect: false },
        scales: {
          x: {
            stacked: isBar,
            offset: true,
            grid: { display: false },
            border: {},
            ticks: { maxRotation: 0, autoSkipPadding: 14, callback: (index) => this.#tick(index) },
            afterBuildTicks: (scale) => (scale.ticks = scale.ticks.filter(({ value }) => this.#hasTick(value))),
          },
          y: {
            stacked: isBar,
            beginAtZero: !this.isPercent,
            max: this.isPercent ? 100 : undefined,
            suggestedMax: this.isPercent ? undefined : 4,
            grid: {},
            border: {},
            ticks: {
              precision: 0,
              maxTicksLimit: 6,
              callback: (value) => (this.isPercent ? `${value} %` : count(value)),
            },
          },
        },
        plugins: {
          legend: { display: this.series.length > 1, position: "bottom", labels: { boxWidth: 12, boxHeight: 12 } },
          tooltip: {
            callbacks: {
              title: ([item]) => `${wordsOf(this.span.isByDay, this.times[item.dataIndex])} (UTC)`,
              label: (item) => ` ${item.dataset.label}: ${this.write(item.raw)}`,
            },
          },
        },
      },
    };
  }

  // What is not over yet is lower than it will be: it stands on a shade.
  #shadePartial({ ctx, chartArea, scales }) {
    const width = chartArea.width / this.times.length;
    ctx.fillStyle = colour("--shade");
    this.times.forEach(({ isPartial }, index) => {
      const left = scales.x.getPixelForValue(index) - width / 2;
      if (isPartial) ctx.fillRect(left, chartArea.top, width, chartArea.height);
    });
  }

  #hasNumbers(time) {
    return this.series.some(({ of }) => (this.isPercent ? of(time) !== null : of(time) > 0));
  }

  #isLong() {
    return !this.span.isByDay && this.times.length > 48;
  }

  #hasTick(index) {
    return !this.#isLong() || new Date(this.times[index].start).getUTCHours() === 0;
  }

  #tick(index) {
    const { start } = this.times[index];
    return this.span.isByDay || this.#isLong() ? day(start).replace(/^\w+, /, "") : hour(start);
  }

  #summary() {
    const sums = this.series.map(({ label, of }) => {
      const values = this.times.map(of).filter((value) => value !== null);
      if (!this.isPercent) return `${label} ${count(values.reduce((sum, value) => sum + value, 0))}`;
      if (values.length === 0) return "no traffic";
      return `${label} ${percent(Math.min(...values))} to ${percent(Math.max(...values))}`;
    });
    return `${this.title}, ${this.span.words}: ${sums.join(", ")}. The table below has the numbers.`;
  }

  // Whoever reads in the table keeps the place: rows stay, and of them only what has changed is written.
  #fillTable() {
    if (this.rowsAreDays !== this.span.isByDay) this.#beginTable();
    const shown = this.times.filter((time) => this.#hasNumbers(time)).reverse();
    keepChildren(this.rows, shown.map((time) => this.#row(time)));
  }

  #beginTable() {
    this.rowsAreDays = this.span.isByDay;
    const [unit, name] = this.rowsAreDays ? ["day", "Day (UTC)"] : ["hour", "Hour (UTC)"];
    const head = [name, ...this.series.map(({ label }) => label)].map((text, index) =>
      element("th", { scope: "col", class: index ? "number" : "" }, text),
    );
    this.rows = element("tbody");
    this.rowOf = new Map(); // time → its row
    this.table.replaceChildren(
      element(
        "table",
        {},
        element("caption", { class: "unseen" }, `${this.title} by ${unit}; ${unit}s without any are left out`),
        element("thead", {}, element("tr", {}, ...head)),
        this.rows,
      ),
    );
  }

  #row(time) {
    if (!this.rowOf.has(time.start)) {
      const more = element("a", { href: moreOf(this.rowsAreDays, time) });
      const cells = this.series.map(() => element("td", { class: "number" }));
      this.rowOf.set(time.start, element("tr", {}, element("th", { scope: "row" }, more), ...cells));
    }
    const row = this.rowOf.get(time.start);
    const [head, ...cells] = row.children;
    setText(head.firstChild, wordsOf(this.rowsAreDays, time));
    this.series.forEach(({ of }, index) => setText(cells[index], this.write(of(time))));
    return row;
  }
}
