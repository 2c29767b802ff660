/**
 * The routes of triggers and of what they log: below /v1 those of the operators' keys, below /v1/tenants/:tenant the same
 * for a tenant's own, whose patterns and keys are bare there. A tenant, by its token, reads its own; operators change.
 */
import { Effect } from "effect"
import { toBytes } from "../cache/Values.ts"
import { refusal } from "./HttpAnswer.ts"
import type { Access, Asked, Response, Route } from "./HttpRoute.ts"
import { type TenantViews, withTenant } from "./HttpTenants.ts"
import * as HttpTriggers from "./HttpTriggers.ts"
import { tenantOfPattern } from "./TenantRoutes.ts"

export interface TriggerViews extends TenantViews {
  /** The engine, for the operators' keys; it has the tenants' too. */
  readonly triggers: HttpTriggers.HttpTriggers
}

type Answer = (triggers: HttpTriggers.HttpTriggers, asked: Asked) => Effect.Effect<Response>

/** Whose triggers a path is about. */
interface Mount {
  readonly head: "/v1" | "/v1/tenants/:tenant"
  readonly whose: string
  readonly reader: Access
  readonly isThere?: (views: TriggerViews) => boolean
  readonly answer: (views: TriggerViews, asked: Asked, answer: Answer) => Effect.Effect<Response>
}

const operators: Mount = {
  head: "/v1",
  whose: "The triggers",
  reader: "operator",
  answer: ({ triggers }, asked, answer) => answer(triggers, asked)
}

const ofTenants: Mount = {
  head: "/v1/tenants/:tenant",
  whose: "A tenant's triggers",
  reader: "tenant",
  isThere: ({ tenants }) => tenants !== undefined,
  answer: (views, asked, answer) =>
    withTenant(views, asked, ({ tenant }) => answer(views.triggers.forTenant(tenant), asked))
}

const definition = '{"pattern":"stock:*","events":["ON_WRITE"],"source":"cache.emit(\'stock\', event.value)"}'
const tested = '{"name":"stock","event":"ON_WRITE","key":"stock:1","value":"3"}'

const routesOf = (mount: Mount): readonly Route<TriggerViews>[] => {
  const { head, whose, reader, isThere } = mount
  const shared = isThere === undefined ? {} : { isThere }
  const reads = { method: "GET", access: reader, ...shared } as const
  const changes = { access: "operator", ...shared } as const
  const run = (answer: Answer): Route<TriggerViews>["run"] => {
    return (views, asked) => mount.answer(views, asked, answer)
  }
  const name = ({ params }: Asked): string => params.name as string
  return [
    {
      ...{ ...reads, path: `${head}/triggers` },
      summary: `${whose} with their figures.`,
      answers: "a list.",
      run: run((triggers) => HttpTriggers.list(triggers))
    },
    {
      ...{ ...reads, path: `${head}/triggers/graph` },
      summary: `${whose}: what they watch, read and write, and where they go round in circles.`,
      answers: "nodes, edges and cycles.",
      run: run((triggers) => Effect.sync(() => HttpTriggers.graph(triggers)))
    },
    {
      ...{ ...changes, method: "POST", path: `${head}/triggers/test` },
      summary: "What a trigger or a source would do, on a made-up event or on the last ones. Nothing happens.",
      body: { type: "json", example: tested },
      answers: "its writes, deletes, emits, webhooks and logs.",
      run: run((triggers, { body }) => Effect.sync(() => HttpTriggers.test(triggers, body)))
    },
    {
      ...{ ...reads, path: `${head}/triggers/:name` },
      summary: "A trigger with its source, its figures and what can be said against it.",
      answers: "what the list has of it, source and warnings.",
      run: run((triggers, asked) => Effect.sync(() => HttpTriggers.one(triggers, name(asked))))
    },
    {
      ...{ ...changes, method: "PUT", path: `${head}/triggers/:name` },
      summary: "Registers a trigger, or replaces the one of that name, of which earlier versions are kept.",
      body: { type: "json", example: definition },
      answers: "the trigger.",
      run: (views, asked) =>
        mount.answer(views, asked, (triggers) => {
          const input = HttpTriggers.inputOf(name(asked), asked.body)
          if (typeof input === "string") return Effect.succeed(refusal(400, input))
          const owner = mount === operators ? ownerOf(views, input.pattern) : undefined
          return owner === undefined
            ? HttpTriggers.set(triggers, asked, input)
            : Effect.succeed(refusal(409, ownedText(owner)))
        })
    },
    {
      ...{ ...changes, method: "DELETE", path: `${head}/triggers/:name` },
      summary: "Removes a trigger.",
      answers: "whether it was there.",
      run: run((triggers, asked) => HttpTriggers.remove(triggers, asked, name(asked)))
    },
    {
      ...{ ...reads, path: `${head}/triggers-log` },
      summary: `${whose}: what failed and what did not run, newest first.`,
      query: { count: "records at most; 10 when left out" },
      answers: "records, each with id, atMs, trigger, event, key, kind, message and count.",
      run: run((triggers, { search }) => Effect.sync(() => HttpTriggers.log(triggers, search)))
    },
    {
      ...{ ...reads, path: `${head}/logs` },
      summary: `The streams into which ${whose.toLowerCase()} have logged.`,
      answers: "a list.",
      run: run((triggers) => Effect.sync(() => HttpTriggers.streams(triggers)))
    },
    {
      ...{ ...reads, path: `${head}/logs/:stream` },
      summary: "Lines of a stream, oldest first.",
      query: { after: "the number behind which to begin", count: "lines at most" },
      answers: "the lines.",
      run: run((triggers, { params, search }) =>
        Effect.sync(() => HttpTriggers.lines(triggers, params.stream as string, search))
      )
    }
  ]
}

/** The prefix of the tenant to whom the keys of a pattern belong; the operators' triggers see none of them. */
const ownerOf = ({ tenants }: TriggerViews, pattern: string): string | undefined =>
  tenants === undefined
    ? undefined
    : tenantOfPattern({ size: tenants.list().length, route: tenants.route }, toBytes(pattern))?.prefix

const ownedText = (prefix: string): string =>
  `keys that begin with '${prefix}:' are a tenant's; PUT it below /v1/tenants/<its id>/triggers, with a pattern of bare keys`

export const triggerRoutes: readonly Route<TriggerViews>[] = [...routesOf(operators), ...routesOf(ofTenants)]
