// Money: what the results of the last days cost, and how that is known.
import { Answered, Problem, Rows, Said, Where, h, length, useAnswer, useState } from "./parts.js";

const { Box, Heading, NativeSelect, Text } = globalThis.ChakraUI;
// From the surest to the least sure.
const BASES = { service: "green", computed: "blue", estimated: "orange" };
const HIGH = 100; // of the plot, in its own units; a day is one unit wide
const color = (basis) => `var(--chakra-colors-${BASES[basis]}-solid)`;

const dollars = (usd) => `$${usd.toFixed(usd >= 0.1 || usd === 0 ? 2 : 4)}`;
const sum = (row) => Object.values(row.usd).reduce((total, usd) => total + usd, 0);

const spent = (row) =>
  [...Object.entries(row.usd).map(([basis, usd]) => `${dollars(usd)} ${basis}`), ...(row.unknown ? [`${row.unknown} of unknown cost`] : [])].join(", ") || "nothing";

// A bar a day, also for days without any, so that the distances are true.
const Plot = ({ rows, days }) => {
  const today = Date.now();
  const dates = Array.from({ length: days }, (_, back) => new Date(today - (days - 1 - back) * 86400000).toISOString().slice(0, 10));
  const known = Object.fromEntries(rows.map((row) => [row.name, row]));
  const most = Math.max(...rows.map(sum), 0);
  if (!most) return h(Text, { color: "fg.muted", my: 4 }, "Nothing of known cost in this time.");
  const bars = dates.flatMap((date, number) => {
    let top = HIGH;
    return Object.keys(BASES).map((basis) => {
      const usd = known[date]?.usd[basis] ?? 0;
      const height = (usd / most) * HIGH;
      top -= height;
      const title = h("title", null, `${date}: ${dollars(usd)} ${basis}`);
      return usd ? h("rect", { key: date + basis, x: number + 0.1, y: top, width: 0.8, height, fill: color(basis) }, title) : null;
    });
  });
  const picture = { viewBox: `0 0 ${days} ${HIGH}`, preserveAspectRatio: "none", role: "img", "aria-label": "Dollars by day" };
  return h(
    Box,
    { borderWidth: "1px", borderRadius: "md", p: 3, fontSize: "xs", color: "fg.muted" },
    h(Text, null, `up to ${dollars(most)} a day`),
    h(Box, { borderBottomWidth: "1px", h: "9rem" }, h("svg", { ...picture, width: "100%", height: "100%" }, bars)),
    h(Box, { display: "flex", justifyContent: "space-between" }, h("span", null, dates[0]), h("span", null, dates.at(-1))),
    h(
      Box,
      { display: "flex", gap: 4, mt: 2 },
      Object.keys(BASES).map((basis) => h("span", { key: basis }, h("span", { style: { color: color(basis) } }, "■ "), basis)),
    ),
  );
};

const columns = (what) => [
  [what, (row) => (what === "DAG" ? h(Where, { dag_id: row.name }) : h(Said, null, row.name))],
  ["Results", (row) => row.results.toLocaleString()],
  ["Seconds", (row) => length(row.seconds)],
  ["Cost", spent],
];

export const Money = ({ connection }) => {
  const [days, setDays] = useState(30);
  const answer = useAnswer(["money"], { days });
  return h(
    Box,
    null,
    h(
      Box,
      { display: "flex", gap: 4, alignItems: "center", mb: 3 },
      h(
        NativeSelect.Root,
        { w: "auto" },
        h(
          NativeSelect.Field,
          { value: days, "aria-label": "How many days", onChange: (event) => setDays(Number(event.target.value)) },
          [7, 30, 90].map((count) => h("option", { key: count, value: count }, `last ${count} days`)),
        ),
        h(NativeSelect.Indicator),
      ),
      connection ? h(Wallet, { connection }) : null,
    ),
    h(Answered, { answer }, ({ by, whole }) =>
      h(
        Box,
        null,
        whole ? null : h(Problem, { status: "warning" }, "There are too many results: only the newest of them are counted."),
        h(Plot, { rows: by.day, days }),
        [["By DAG", "DAG", by.dag], ["By connection", "Connection", by.connection], ["By day", "Day", [...by.day].reverse()]].map(([title, what, rows]) =>
          h(Box, { key: title, mt: 6 }, h(Heading, { size: "md", mb: 2 }, title), h(Rows, { label: title, columns: columns(what), rows, empty: "Nothing was kept." })),
        ),
      ),
    ),
  );
};

const Wallet = ({ connection }) => {
  const { data, error } = useAnswer(["connections", connection, "wallet"]);
  const said = data ? (data.usd == null ? data.says : `Left to spend: ${dollars(data.usd)}`) : (error ?? "");
  return h(Said, { color: "fg.muted" }, said);
};
