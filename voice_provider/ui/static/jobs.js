// Jobs: what was paid and never collected first, with what to do; then what the service lists.
import { Answered, Mark, Problem, Rows, Said, Where, h, useAnswer } from "./parts.js";

const { Box, Heading, Text } = globalThis.ChakraUI;
const COLORS = { left: "orange", ended: "gray", running: "blue" };

const id = (job) => h(Text, { fontFamily: "mono", fontSize: "xs", overflowWrap: "anywhere" }, job.id);
const kind = (job) => job.kind.replace("_", " ");
const ordered = (job) => (job.ordered_at ? new Date(job.ordered_at).toLocaleString() : "–");

const LEFT = [
  ["Job", id],
  ["Kind", kind],
  ["Task", (job) => h(Where, { ...job, otherwise: "of a DAG that you may not read" })],
  ["Ordered", ordered],
  ["State", (job) => h(Mark, { color: COLORS.left }, job.state)],
  ["What to do", (job) => h(Said, { fontSize: "sm" }, job.what_to_do)],
];

const LISTED = [
  ["Job", id],
  ["Kind", kind],
  ["Task", (job) => h(Where, job)],
  ["Ordered", ordered],
  ["State", (job) => h(Mark, { color: job.error ? "red" : job.ended ? COLORS.ended : COLORS.running }, job.state)],
  ["What the service says", (job) => h(Said, { fontSize: "sm" }, job.error ?? "")],
];

export const Jobs = ({ connection }) => {
  const answer = useAnswer(["connections", connection, "jobs"]);
  return h(Answered, { answer }, ({ left, jobs, lists, problem }) =>
    h(
      Box,
      null,
      h(Heading, { size: "md", mb: 2 }, "Ordered, and not collected"),
      problem
        ? h(Problem, { status: "info" }, problem)
        : h(Rows, { label: "Not collected", columns: LEFT, rows: left, empty: "Everything that was paid was collected." }),
      h(Heading, { size: "md", mt: 6, mb: 2 }, "The newest at the service"),
      lists
        ? h(Rows, { label: "Jobs", columns: LISTED, rows: jobs })
        : h(Text, { color: "fg.muted" }, "This service lists no jobs: speech is the answer itself."),
    ),
  );
};
