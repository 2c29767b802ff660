/**
 * Where the registered triggers outlive the process: one document in the data directory, replaced as a whole, until the
 * durable log comes.
 *
 * A process writes it. Those who ask while it is busy are answered by the next write together, so that registering ten
 * thousand triggers at once costs a few writes, not ten thousand.
 */
import { Context, Effect, Layer, Request, Schema } from "effect"
import { GenServer, Process, Registry, type Supervisor } from "../actor/index.ts"
import { DataDirectory, type DocumentFile, type StorageError, type VersionedDocument } from "../storage/index.ts"
import { type TriggerDefinition, triggerEventNames } from "./Trigger.ts"
import { TriggersNotSaved } from "./TriggerError.ts"

export interface TriggerStoreService {
  /** The triggers that were saved last; none on a first start. */
  readonly saved: readonly TriggerDefinition[]
  /** Returns when these would survive a crash of the machine. */
  readonly save: (definitions: () => readonly TriggerDefinition[]) => Effect.Effect<void, TriggersNotSaved>
  /** The process that writes, where there is one. */
  readonly children: ReadonlyArray<Supervisor.ChildSpec<Process.Self>>
}

export class TriggerStore extends Context.Tag("mimosa-cache/triggers/TriggerStore")<
  TriggerStore,
  TriggerStoreService
>() {
  /** Keeps nothing: for a library that registers its triggers in code. */
  static readonly layerNone: Layer.Layer<TriggerStore> = Layer.succeed(TriggerStore, {
    saved: [],
    save: () => Effect.void,
    children: []
  })

  /** Keeps them in `triggers.json`. What is there and cannot be read is an error, never overwritten. */
  static readonly layer: Layer.Layer<TriggerStore, StorageError, DataDirectory.DataDirectory> = Layer.effect(
    TriggerStore,
    Effect.gen(function* () {
      const file = yield* (yield* DataDirectory.DataDirectory).open(triggerDocument)
      const names = Registry.unsafeMake({ keys: "unique" })
      const name = Registry.via<GenServer.RefOf<WriterProtocol>>(names, "storage")
      return {
        saved: file.initial ?? [],
        save: (definitions) =>
          GenServer.call(name, new Save({ definitions })).pipe(
            Effect.mapError((cause) => (cause instanceof TriggersNotSaved ? cause : new TriggersNotSaved({ cause })))
          ),
        children: [GenServer.childSpec(Writer, file, { name })]
      }
    })
  )
}

const triggerDocument: VersionedDocument<readonly TriggerDefinition[], readonly TriggerDefinition[]> = {
  kind: "triggers",
  version: 1,
  schema: Schema.Array(
    Schema.Struct({
      name: Schema.String,
      pattern: Schema.String,
      events: Schema.Array(Schema.Literal(...triggerEventNames)),
      source: Schema.String,
      timeoutUs: Schema.Int,
      memoryBytes: Schema.Int,
      priority: Schema.Int
    })
  )
}

class Save extends Request.TaggedClass("Save")<
  void,
  TriggersNotSaved,
  { readonly definitions: () => readonly TriggerDefinition[] }
> {}

interface WriterProtocol extends GenServer.Protocol {
  readonly call: Save
  readonly info: "write"
}

interface WriterState {
  readonly file: DocumentFile<readonly TriggerDefinition[]>
  /** Who waits for the next write, and what the last of them wants to be written. */
  readonly waiting: ReadonlyArray<GenServer.FromOf<Save>>
  readonly definitions: () => readonly TriggerDefinition[]
  readonly writes: number
}

const Writer = GenServer.define<WriterProtocol>()({
  name: "storage",
  init: (file: DocumentFile<readonly TriggerDefinition[]>) =>
    GenServer.Ok<WriterState>({ file, waiting: [], definitions: () => [], writes: 0 }),
  handleCall: {
    // The write comes behind the requests that wait already, which it answers all.
    Save: ({ definitions }, state, from) =>
      Effect.gen(function* () {
        if (state.waiting.length === 0) yield* Process.send(yield* Process.self, "write")
        return GenServer.NoReply({ ...state, definitions, waiting: [...state.waiting, from] })
      })
  },
  handleInfo: (message, state) =>
    message !== "write"
      ? GenServer.NoReply(state)
      : Effect.gen(function* () {
          const answer = yield* state.file.replace(state.definitions()).pipe(
            Effect.match({
              onSuccess: () => (from: GenServer.FromOf<Save>) => GenServer.reply(from, undefined),
              onFailure: (cause) => (from: GenServer.FromOf<Save>) =>
                GenServer.replyFail(from, new TriggersNotSaved({ cause }))
            })
          )
          yield* Effect.forEach(state.waiting, answer, { discard: true })
          return GenServer.NoReply({ ...state, waiting: [], writes: state.writes + 1 })
        }),
  inspect: ({ file, writes }) => ({ path: file.path, writes })
})
