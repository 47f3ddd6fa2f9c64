// The latest kept results: they play, and say where they come from.
import { Answered, Mark, Player, Problem, Rows, Said, Where, ask, h, length, useAnswer, useState } from "./parts.js";

const { Box, Button, Text } = globalThis.ChakraUI;
const LIMIT = 25;

const place = (connection, result) => [
  ["connections", connection, "dags", result.dag_id, "result"],
  { run_id: result.run_id, task_id: result.task_id, map_index: result.map_index },
];

const listed = (value) => (Array.isArray(value) ? value : value ? [value] : []);

const facts = (record) => [
  ["made by", [record.made.service, record.made.model, record.made.engine].filter(Boolean).join(", ")],
  ["job", record.made.job_id],
  ["in the voice", listed(record.voice).map((voice) => voice.name ?? voice.id ?? "of a recording").join(", ")],
  ["from", record.inputs.map((input) => Object.values(input).join(" ")).join("; ")],
  ["consent", listed(record.consent).map((consent) => consent.id).join(", ") || "none"],
  ["sha256", record.file.sha256],
  ["kept at", record.kept_at],
];

const Check = ({ connection, result }) => {
  const [found, setFound] = useState({});
  const [path, params] = place(connection, result);
  const check = () => {
    setFound({ waits: true });
    ask([...path, "check"], params).then(
      (answer) => setFound(answer),
      (error) => setFound({ problem: error.message }),
    );
  };
  if (!found.record && !found.problem) {
    return h(Button, { size: "xs", variant: "outline", disabled: found.waits, onClick: check }, found.waits ? "Reading …" : "Check");
  }
  return h(
    Box,
    { fontSize: "xs" },
    found.problem ? h(Problem, null, found.problem) : h(Mark, { color: "green" }, "It is what was kept"),
    found.record
      ? facts(found.record).map(([name, value]) =>
          value ? h(Text, { key: name, mt: 1 }, h(Text, { as: "span", color: "fg.muted" }, `${name}: `), h(Said, null, value)) : null,
        )
      : null,
  );
};

const columns = (connection) => [
  ["Task", (result) => h(Where, result)],
  ["Kept", (result) => new Date(result.kept_at).toLocaleString()],
  [
    "What",
    (result) => h(Box, null, `${result.kind.replace("_", " ")}, ${result.format}, ${length(result.seconds)}`, h(Said, { display: "block", fontSize: "xs", color: "fg.muted" }, result.uri)),
  ],
  [
    "Play",
    (result) => {
      const [path, params] = place(connection, result);
      return result.obstacle
        ? h(Said, { fontSize: "xs", color: "fg.muted" }, result.obstacle)
        : h(Player, { kind: result.media_type.startsWith("video/") ? "video" : "audio", path: [...path, "media"], params, label: `${result.dag_id}.${result.task_id}` });
    },
  ],
  ["Where it comes from", (result) => h(Check, { connection, result })],
];

export const Results = ({ connection }) => {
  const [offset, setOffset] = useState(0);
  const answer = useAnswer(["connections", connection, "results"], { offset, limit: LIMIT });
  return h(Answered, { answer }, ({ results, next }) =>
    h(
      Box,
      null,
      h(Rows, {
        label: "Results",
        columns: columns(connection),
        rows: results.map((result) => ({ key: [result.dag_id, result.run_id, result.task_id, result.map_index].join("/"), ...result })),
        empty: "No task that you may read has kept a result of this connection's service here.",
      }),
      h(
        Box,
        { display: "flex", gap: 2, mt: 3 },
        offset > 0 ? h(Button, { size: "sm", variant: "outline", onClick: () => setOffset(Math.max(0, offset - LIMIT)) }, "Newer") : null,
        next != null ? h(Button, { size: "sm", variant: "outline", onClick: () => setOffset(next) }, "Older") : null,
      ),
    ),
  );
};
