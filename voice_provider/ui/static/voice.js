// The page in Airflow's menu. Airflow imports this module, and shows what stands under the name of its menu entry.
import { Answered, Problem, h, useAnswer, useState } from "./parts.js";
import { Jobs } from "./jobs.js";
import { Money } from "./money.js";
import { Results } from "./results.js";
import { Voices } from "./voices.js";

const { ChakraUI, ReactRouterDOM } = globalThis;
const { Box, Heading, Input, NativeSelect, Tabs, Text } = ChakraUI;
const PARTS = { voices: ["Voices", Voices], jobs: ["Jobs", Jobs], results: ["Results", Results], money: ["Money", Money] };

// The choice stands in the address, so that it can be sent to a person: ?connection=…&part=jobs&search=…
const Page = () => {
  const [params, setParams] = ReactRouterDOM.useSearchParams();
  const answer = useAnswer(["connections"]);
  const choose = (name, value) =>
    setParams((before) => {
      const next = new URLSearchParams(before);
      next.set(name, value);
      return next;
    });
  const part = PARTS[params.get("part")] ? params.get("part") : "voices";
  return h(
    Box,
    { p: 4 },
    h(Answered, { answer }, (connections) => {
      const connection = params.get("connection") ?? connections[0]?.id ?? "";
      return h(
        Box,
        null,
        h(
          Box,
          { display: "flex", gap: 4, alignItems: "center", flexWrap: "wrap", mb: 4 },
          h(Heading, { size: "lg" }, "Voice"),
          h(Choice, { connections, connection, choose: (id) => choose("connection", id) }),
        ),
        h(
          Tabs.Root,
          { value: part, onValueChange: (change) => choose("part", change.value), lazyMount: true, unmountOnExit: true },
          h(Tabs.List, null, Object.entries(PARTS).map(([name, [title]]) => h(Tabs.Trigger, { key: name, value: name }, title))),
          Object.entries(PARTS).map(([name, [, Part]]) =>
            h(
              Tabs.Content,
              { key: name, value: name },
              connection || name === "money"
                ? h(Part, { key: connection, connection, search: params.get("search") })
                : h(Problem, { status: "info" }, "There is no connection to a voice service that you may read. If it is kept in a secrets backend, type its id above."),
            ),
          ),
        ),
      );
    }),
  );
};

// Those that Airflow can list; one of a secrets backend is opened by its id.
const Choice = ({ connections, connection, choose }) => {
  const [typed, setTyped] = useState(connection);
  const known = connections.some(({ id }) => id === connection);
  if (connections.length > 0 && known) {
    return h(
      NativeSelect.Root,
      { w: "auto" },
      h(
        NativeSelect.Field,
        { value: connection, "aria-label": "Connection", onChange: (event) => choose(event.target.value) },
        connections.map(({ id, service }) => h("option", { key: id, value: id }, `${id} (${service})`)),
      ),
      h(NativeSelect.Indicator),
    );
  }
  return h(
    "form",
    {
      onSubmit: (event) => {
        event.preventDefault();
        if (typed.trim()) choose(typed.trim());
      },
    },
    h(Box, { display: "flex", gap: 2, alignItems: "center" }, h(Text, { color: "fg.muted" }, "Connection"), h(Input, { value: typed, maxW: "16rem", "aria-label": "Connection", placeholder: "id, then Enter", onChange: (event) => setTyped(event.target.value) })),
  );
};

globalThis.Voice = Page;
