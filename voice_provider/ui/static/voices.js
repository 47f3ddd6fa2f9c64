// Voices of a connection: who holds the slots, how they sound, and one at a time away.
import { Answered, Mark, Pages, Player, Problem, Rows, Said, Where, age, ask, h, useAnswer, useEffect, useState } from "./parts.js";

const { Box, Button, CloseButton, Dialog, Input, NativeSelect, Portal, Text } = globalThis.ChakraUI;
const LIMIT = 50;
const SHOWN = { slots: "those that take a slot", ours: "ours", all: "all, built-in ones too" };

// The first question is for every voice; the second, its name, for one that this provider did not make here.
const Deletion = ({ connection, voice, close }) => {
  const [sure, setSure] = useState(voice.ours);
  const [typed, setTyped] = useState("");
  const [error, setError] = useState(null);
  const [waits, setWaits] = useState(false);
  const remove = async () => {
    setWaits(true);
    try {
      const expect = voice.ours ? {} : { expect: typed };
      const { at } = await ask(["connections", connection, "voices", voice.id], expect, { method: "DELETE" });
      close(at);
    } catch (why) {
      setError(why.message);
      setWaits(false);
    }
  };
  const whose = voice.namespace ? `belongs to namespace '${voice.namespace}'` : "was not made by this provider: it may be a person's own";
  const last = sure
    ? h(
        Button,
        { colorPalette: "red", disabled: waits || (!voice.ours && typed !== voice.name_at_service), onClick: remove },
        "Delete",
      )
    : h(Button, { colorPalette: "red", variant: "outline", onClick: () => setSure(true) }, "Yes, delete it");
  return h(
    Dialog.Root,
    { open: true, role: "alertdialog", onOpenChange: (change) => change.open || close() },
    h(
      Portal,
      null,
      h(Dialog.Backdrop),
      h(
        Dialog.Positioner,
        null,
        h(
          Dialog.Content,
          null,
          h(Dialog.Header, null, h(Dialog.Title, null, "Delete this voice?")),
          h(
            Dialog.Body,
            null,
            h(Text, null, h(Said, { fontWeight: "bold" }, voice.name), " is deleted at the service, and its slot is free at once. It cannot be brought back."),
            voice.ours ? null : h(Text, { mt: 3 }, `This voice ${whose}.`),
            voice.ours || !sure
              ? null
              : h(
                  Box,
                  { mt: 3 },
                  h(Text, { mb: 1 }, "To delete it all the same, type its name at the service: ", h(Said, { fontFamily: "mono" }, voice.name_at_service)),
                  h(Input, { value: typed, "aria-label": "Name of the voice", dir: "auto", onChange: (event) => setTyped(event.target.value) }),
                ),
            h(Problem, null, error),
          ),
          h(Dialog.Footer, null, h(Button, { variant: "outline", onClick: () => close() }, "Keep it"), last),
          h(Dialog.CloseTrigger, { asChild: true }, h(CloseButton, { size: "sm" })),
        ),
      ),
    ),
  );
};

const columns = (connection, choose) => [
  [
    "Voice",
    (voice) => h(Box, null, h(Said, { fontWeight: "medium" }, voice.name || "(no name)"), h(Text, { fontSize: "xs", color: "fg.muted", fontFamily: "mono" }, voice.id)),
  ],
  ["Preview", (voice) => (voice.plays ? h(Player, { path: ["connections", connection, "voices", voice.id, "preview"], label: voice.name }) : "–")],
  ["Namespace", (voice) => voice.namespace ?? "–"],
  [
    "Belongs to",
    (voice) => h(Where, { ...voice, otherwise: voice.owner ?? (voice.made_by_this_provider ? "all runs" : "–") }),
  ],
  ["Age", (voice) => age(voice.made_at)],
  [
    "State",
    (voice) =>
      h(Mark, { color: voice.restricted || voice.state === "failed" ? "red" : voice.state === "training" ? "orange" : "green" },
        voice.takes_slot ? `${voice.state}${voice.restricted ? ", restricted" : ""}` : "built-in"),
  ],
  ["Expires", (voice) => (voice.expired ? h(Mark, { color: "red" }, "expired") : (voice.expires_at?.slice(0, 10) ?? "–"))],
  ["Consent", (voice) => (voice.consent == null ? "–" : voice.consent ? "yes" : h(Mark, { color: "orange" }, "no"))],
  [
    "",
    (voice) =>
      voice.takes_slot
        ? h(Button, { size: "xs", variant: "ghost", colorPalette: "red", "aria-label": `Delete ${voice.name}`, onClick: () => choose(voice) }, "Delete")
        : null,
  ],
];

export const Voices = ({ connection, search: first }) => {
  const [typed, setTyped] = useState(first ?? "");
  const [asked, setAsked] = useState({ search: first ?? "", which: "slots", offset: 0, after: 0 });
  const [chosen, setChosen] = useState(null);
  const answer = useAnswer(["connections", connection, "voices"], { ...asked, limit: LIMIT });
  useEffect(() => {
    const timer = setTimeout(() => typed === asked.search || setAsked({ ...asked, search: typed, offset: 0 }), 300);
    return () => clearTimeout(timer);
  }, [typed, asked]);
  const close = (at) => {
    setChosen(null);
    if (at) setAsked({ ...asked, after: at }); // another worker of the API server may know the list from before
  };
  return h(
    Box,
    null,
    h(
      Box,
      { display: "flex", gap: 3, flexWrap: "wrap", alignItems: "center", mb: 3 },
      h(Input, { placeholder: "Name, id, DAG …", "aria-label": "Search voices", maxW: "18rem", value: typed, maxLength: 200, onChange: (event) => setTyped(event.target.value) }),
      h(
        NativeSelect.Root,
        { w: "auto" },
        h(
          NativeSelect.Field,
          { value: asked.which, "aria-label": "Which voices", onChange: (event) => setAsked({ ...asked, which: event.target.value, offset: 0 }) },
          Object.entries(SHOWN).map(([value, said]) => h("option", { key: value, value }, said)),
        ),
        h(NativeSelect.Indicator),
      ),
      answer.data
        ? h(Text, { color: "fg.muted", fontSize: "sm" }, `Slots in use: ${answer.data.slots.active ?? "?"} of ${answer.data.slots.limit ?? "?"} · namespace ${answer.data.namespace}`)
        : null,
    ),
    h(Answered, { answer }, ({ voices, total }) =>
      h(
        Box,
        null,
        h(Rows, { label: "Voices", columns: columns(connection, setChosen), rows: voices.map((voice) => ({ key: voice.id, ...voice })), empty: "No voice fits." }),
        h(Pages, { offset: asked.offset, limit: LIMIT, total, go: (offset) => setAsked({ ...asked, offset }) }),
      ),
    ),
    chosen ? h(Deletion, { connection, voice: chosen, close }) : null,
  );
};
