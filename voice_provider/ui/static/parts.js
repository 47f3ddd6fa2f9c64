// What the parts of the page share: how they ask, and the few shapes that they are made of. React, its router and the
// components are Airflow's own, so the page looks as Airflow does, in the dark too; nothing is bundled or built.
const { React, ReactRouterDOM, ChakraUI } = globalThis;

export const h = React.createElement;
export const { useEffect, useState } = React;
const { Alert, Badge, Box, Button, Link, Spinner, Table, Text } = ChakraUI;
const BASE = new URL("../", import.meta.url); // this app, also where Airflow stands behind a path of its own

// Addresses

export const address = (path, params = {}) => {
  const url = new URL(path.map(encodeURIComponent).join("/"), BASE);
  for (const [name, value] of Object.entries(params)) url.searchParams.set(name, value);
  return url.href;
};

const REFUSED = {
  401: "You are logged out: load the page again.",
  403: "You may not do this: it takes access to this connection, and to what DAGs have returned.",
};

export const ask = async (path, params, options) => {
  let answer;
  try {
    answer = await fetch(address(path, params), { credentials: "same-origin", ...options });
  } catch {
    throw new Error("Airflow does not answer. Is the network there?");
  }
  const body = await answer.json().catch(() => ({}));
  if (answer.ok) return body;
  const detail = typeof body.detail === "string" && body.detail !== "Forbidden" ? body.detail : null;
  throw new Error(detail ?? REFUSED[answer.status] ?? `Airflow answered ${answer.status}. Its log says why.`);
};

// Asks when it is shown, and whenever what it asks for changes; an answer that comes too late is dropped.
export const useAnswer = (path, params = {}) => {
  const [found, setFound] = useState({});
  const asked = address(path, params);
  useEffect(() => {
    let wanted = true;
    setFound((before) => ({ ...before, waits: true }));
    ask(path, params).then(
      (data) => wanted && setFound({ data }),
      (error) => wanted && setFound({ error: error.message }),
    );
    return () => {
      wanted = false;
    };
  }, [asked]);
  return found;
};

// Shapes

// Text that a service or a person chose: shown as text, in its own direction, and broken anywhere.
export const Said = ({ children, ...more }) =>
  h(Text, { as: "span", dir: "auto", overflowWrap: "anywhere", unicodeBidi: "isolate", ...more }, children);

export const Problem = ({ children, status = "error" }) =>
  children
    ? h(Alert.Root, { status, my: 2 }, h(Alert.Indicator), h(Alert.Title, { overflowWrap: "anywhere" }, children))
    : null;

export const Answered = ({ answer, children }) =>
  h(
    Box,
    { opacity: answer.data && answer.waits ? 0.5 : 1 },
    h(Problem, null, answer.error),
    answer.data ? children(answer.data) : answer.error ? null : h(Spinner, { my: 4, "aria-label": "Loading" }),
  );

export const Rows = ({ columns, rows, label, empty = "There are none." }) =>
  rows.length === 0
    ? h(Text, { color: "fg.muted", my: 4 }, empty)
    : h(
        Table.ScrollArea,
        { borderWidth: "1px", borderRadius: "md" },
        h(
          Table.Root,
          { size: "sm", "aria-label": label },
          h(
            Table.Header,
            null,
            h(Table.Row, { bg: "bg.subtle" }, columns.map(([title]) => h(Table.ColumnHeader, { key: title }, title))),
          ),
          h(
            Table.Body,
            null,
            rows.map((row, number) =>
              h(
                Table.Row,
                { key: row.key ?? number },
                columns.map(([title, cell]) =>
                  h(Table.Cell, { key: title, minW: "5rem", maxW: "26rem", whiteSpace: "normal", verticalAlign: "top" }, cell(row)),
                ),
              ),
            ),
          ),
        ),
      );

export const Pages = ({ offset, limit, total, go }) =>
  total > limit
    ? h(
        Box,
        { display: "flex", gap: 2, alignItems: "center", mt: 3 },
        h(Button, { size: "sm", variant: "outline", disabled: offset === 0, onClick: () => go(offset - limit) }, "Back"),
        h(Text, null, `${offset + 1}–${Math.min(offset + limit, total)} of ${total.toLocaleString()}`),
        h(
          Button,
          { size: "sm", variant: "outline", disabled: offset + limit >= total, onClick: () => go(offset + limit) },
          "Next",
        ),
      )
    : null;

export const Mark = ({ color = "gray", children }) => h(Badge, { colorPalette: color, variant: "subtle" }, children);

// A task instance, a run or a DAG, as far as it is known, with the way to it.
export const Where = ({ dag_id: dag, run_id: run, task_id: task, map_index: index, otherwise = "–" }) => {
  if (!dag) return h(Text, { as: "span", color: "fg.muted" }, otherwise);
  const parts = ["dags", dag, ...(run ? ["runs", run] : []), ...(run && task ? ["tasks", task] : [])];
  if (run && task && index >= 0) parts.push("mapped", String(index));
  const said = task ? `${dag}.${task}${index >= 0 ? `[${index}]` : ""}` : dag;
  return h(
    Box,
    null,
    h(
      Link,
      { asChild: true, color: "fg.info", overflowWrap: "anywhere" },
      h(ReactRouterDOM.Link, { to: `/${parts.map(encodeURIComponent).join("/")}` }, said),
    ),
    run ? h(Text, { fontSize: "xs", color: "fg.muted", overflowWrap: "anywhere" }, run) : null,
  );
};

// A player that loads when it is asked to. What hinders it is in the answer, which the player does not show.
export const Player = ({ kind = "audio", path, params, label }) => {
  const [open, setOpen] = useState(false);
  const [error, setError] = useState(null);
  if (error) return h(Problem, null, error);
  if (!open) {
    return h(Button, { size: "xs", variant: "outline", "aria-label": `Play ${label}`, onClick: () => setOpen(true) }, "Play");
  }
  const failed = () =>
    ask(path, params).then(
      () => setError("This browser cannot play it."),
      (why) => setError(why.message),
    );
  return h(kind, {
    src: address(path, params),
    controls: true,
    autoPlay: true,
    preload: "metadata",
    "aria-label": label,
    style: { width: "18rem", ...(kind === "audio" ? { height: "2.25rem" } : { maxHeight: "14rem" }) },
    onError: failed,
  });
};

// Words

const UNITS = [["day", 86400], ["hour", 3600], ["minute", 60]];

export const age = (iso) => {
  if (!iso) return "?";
  const seconds = (Date.now() - Date.parse(iso)) / 1000;
  for (const [unit, size] of UNITS) {
    const count = Math.floor(seconds / size);
    if (count > 0) return `${count} ${unit}${count === 1 ? "" : "s"}`;
  }
  return "just now";
};

export const length = (seconds) =>
  seconds == null ? "?" : seconds < 90 ? `${seconds.toFixed(1)} s` : `${Math.floor(seconds / 60)} min ${Math.round(seconds % 60)} s`;
