// A chart by hour, drawn by Chart.js, and the same numbers as a table for those who do not see it.

import { element } from "./dom.js";
import { count, day, hour, hourSpan, percent } from "./words.js";

const { Chart } = globalThis;
const DARK = matchMedia("(prefers-color-scheme: dark)");
const made = new Set();

const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

DARK.addEventListener("change", () => made.forEach((chart) => chart.recolour()));

export class HourChart {
  // `frame` is the element that it is put into; `kind` is bar (stacked) or line. A series is {label, colour, of}, where
  // `colour` names a variable of styles.css, and `of(hour)` is a number, or null for none.
  constructor(frame, { title, kind, series, isPercent = false }) {
    Object.assign(this, { title, kind, series, write: isPercent ? percent : count, isPercent, hours: [] });
    this.canvas = element("canvas", { role: "img" });
    this.table = element("div", {
      class: "table-frame",
      role: "region",
      tabIndex: 0,
      "aria-label": `${title}: numbers by hour`,
    });
    const details = element("details", {}, element("summary", {}, `${title} as a table`), this.table);
    details.addEventListener("toggle", () => details.open && this.#fillTable());
    this.details = details;
    const canvasFrame = element("div", { class: "canvas-frame" }, this.canvas);
    this.figure = element("figure", { class: "chart card" }, element("h3", {}, title), canvasFrame, details);
    frame.append(this.figure);
    this.chart = new Chart(this.canvas, this.#configuration());
    this.recolour();
    made.add(this);
  }

  // Shows these hours (see `readUsage`).
  show(hours) {
    this.hours = hours;
    this.chart.data.labels = hours.map(({ start }) => start);
    this.series.forEach(({ of }, index) => (this.chart.data.datasets[index].data = hours.map(of)));
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
      pointRadius: isBar ? 0 : 1,
      clip: false,
      categoryPercentage: 0.92,
      barPercentage: 1,
    }));
    return {
      type: this.kind,
      data: { labels: [], datasets },
      options: {
        animation: false,
        maintainAspectRatio: false,
        interaction: { mode: "index", intersect: false },
        scales: {
          x: {
            stacked: isBar,
            grid: { display: false },
            border: {},
            ticks: { maxRotation: 0, autoSkipPadding: 14, callback: (index) => this.#tick(index) },
            afterBuildTicks: (scale) => (scale.ticks = scale.ticks.filter(({ value }) => this.#hasTick(value))),
          },
          y: {
            stacked: isBar,
            beginAtZero: true,
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
              title: ([item]) => `${hourSpan(this.hours[item.dataIndex].start)} UTC`,
              label: (item) => ` ${item.dataset.label}: ${this.write(item.raw)}`,
            },
          },
        },
      },
    };
  }

  #isLong() {
    return this.hours.length > 48;
  }

  #hasTick(index) {
    return !this.#isLong() || new Date(this.hours[index].start).getUTCHours() === 0;
  }

  #tick(index) {
    const { start } = this.hours[index];
    return this.#isLong() ? day(start).replace(/^\w+, /, "") : hour(start);
  }

  #summary() {
    const sums = this.series.map(({ label, of }) => {
      const values = this.hours.map(of).filter((value) => value !== null);
      if (!this.isPercent) return `${label} ${count(values.reduce((sum, value) => sum + value, 0))}`;
      if (values.length === 0) return "no traffic";
      return `${label} ${percent(Math.min(...values))} to ${percent(Math.max(...values))}`;
    });
    return `${this.title}, last ${this.hours.length} hours: ${sums.join(", ")}. The table below has the numbers.`;
  }

  #fillTable() {
    const rows = this.hours
      .filter((each) => this.series.some(({ of }) => of(each)))
      .reverse()
      .map((each) => {
        const cells = this.series.map(({ of }) => element("td", { class: "number" }, this.write(of(each) ?? 0)));
        return element("tr", {}, element("th", { scope: "row" }, hourSpan(each.start)), ...cells);
      });
    if (rows.length === 0) {
      this.table.replaceChildren(element("p", { class: "hint" }, "Nothing in this time."));
      return;
    }
    const heads = ["Hour (UTC)", ...this.series.map(({ label }) => label)];
    const head = heads.map((text, index) => element("th", { scope: "col", class: index ? "number" : "" }, text));
    this.table.replaceChildren(
      element(
        "table",
        {},
        element("caption", { class: "unseen" }, `${this.title} by hour; hours without any are left out`),
        element("thead", {}, element("tr", {}, ...head)),
        element("tbody", {}, ...rows),
      ),
    );
  }
}
