/**
 * What can be set when a Mimosa starts, and within what ranges.
 *
 * A wrong setting is a mistake of the program and no state of the world: the start dies of it, with a `RangeError` that
 * has its name, its value and what would be right. What needs more than a look at the value is refused where it is used,
 * by a typed error (`EgressAllowInvalid`, `HttpAllowInvalid`).
 */
import { ackModes, type KeyspaceLimits, type TenantsSettings, type Tier, tenantLimitRanges } from "./cache/index.ts"
import { type CoherenceSettings, frameBytesMaxDefault } from "./coherence/index.ts"
import type { ScriptSettings } from "./scripting/index.ts"
import type { CascadeLimits, Intensity } from "./triggers/index.ts"

export interface Settings extends Partial<KeyspaceLimits> {
  /** Where triggers, tenants and their scripts survive a restart; without it they do not. */
  readonly dataDir?: string
  /**
   * Private addresses that webhooks and scripts may reach: `127.0.0.1`, `hooks.internal:8080`, `10.0.0.0/8`, `*`. Default
   * none.
   */
  readonly egressAllow?: readonly string[]
  /** Hosts that scripts may reach by `http.request`: `api.example.com`, `*.example.com:8443`, `*`. Default none. */
  readonly httpAllow?: readonly string[]
  /** How many tenants there may be. */
  readonly tenants?: TenantsSettings
  /** What the entries of all tenants may hold together, in bytes. Default 1 GiB. */
  readonly tenantBytesMax?: number
  /** The bounds of the engine that runs tenants' scripts. */
  readonly scripts?: Omit<ScriptSettings, "http">
  /** The bounds of one operation's cascade. */
  readonly cascade?: Partial<CascadeLimits>
  /** How many failures of a trigger, and within what time, take it out. */
  readonly intensity?: Partial<Intensity>
  /**
   * How many of the last events are kept for `TRIGGER TEST … HISTORY` (16 MiB of values at most). Default 0, none: then no
   * event is built that no trigger wants. `mimosa serve` keeps 1,000.
   */
  readonly eventLog?: number
  /**
   * Shares its keys with every instance of the same name: a write or delete on one removes the others' copies, and a key
   * that is not here is looked for there. 1 to 64 letters, digits, `_`, `.`, `-`. Without it nothing is shared.
   */
  readonly namespace?: string
  /** How instances of a namespace find and tell each other. Only with a `namespace`. */
  readonly coherence?: CoherenceSettings
  /** A slower cache behind this one, which a miss asks after other instances and before the loader. Default none. */
  readonly tier?: Tier
  /** Names this start in the ids of webhooks and cascades: 1 to 64 letters, digits, `_`, `.`, `-`. Default: 64 random bits. */
  readonly origin?: string
}

/** The settings without those that are undefined, which are as good as left out; or what is wrong with one. */
export const checkedSettings = (settings: Settings): Settings | RangeError => {
  const taken: Settings | RangeError = checked(settings, "", kinds)
  return taken instanceof RangeError ? taken : (sharedByNobody(taken) ?? meshBesideBroker(taken) ?? taken)
}

/** Whoever says how keys are shared, and not with whom, is not to go on alone without knowing. */
const sharedByNobody = ({ namespace, coherence = {} }: Settings): RangeError | undefined => {
  const [given] = Object.keys(coherence)
  if (namespace !== undefined || given === undefined) return undefined
  return new RangeError(
    `coherence.${given} is given and namespace is not, without which nothing is shared: give it, too`
  )
}

/** Whoever says where a mesh listens is not to wait for others at a broker. */
const meshBesideBroker = ({ coherence: { transport = "mesh", mesh } = {} }: Settings): RangeError | undefined => {
  if (transport === "mesh" || mesh === undefined) return undefined
  return new RangeError("coherence.mesh is given, and coherence.transport is not mesh: leave one of the two out")
}

/** What is wrong where there is a setting by a name that is none, a misspelt one perhaps. */
export const unknownSetting = (settings: Settings): RangeError | undefined => unknownIn(settings, "", kinds)

/** Why a value is none that may be set, as the end of a sentence; undefined where it may. */
type Kind = (value: unknown) => string | undefined

/** By name: what the value is to be, or the settings of a group. */
interface Kinds {
  readonly [name: string]: Kind | Kinds
}

const numberFrom =
  (min: number, max = Number.POSITIVE_INFINITY): Kind =>
  (value) => {
    if (typeof value === "number" && value >= min && value <= max) return undefined
    return max === Number.POSITIVE_INFINITY ? `a number from ${min}` : `a number from ${min} to ${max}`
  }

const whole =
  (min: number, max: number): Kind =>
  (value) =>
    Number.isSafeInteger(value) && (value as number) >= min && (value as number) <= max
      ? undefined
      : `a whole number from ${min} to ${max}`

const text: Kind = (value) => (typeof value === "string" && value !== "" ? undefined : "a text that is not empty")

const texts: Kind = (value) =>
  Array.isArray(value) && value.every((item) => typeof item === "string") ? undefined : "an array of texts"

const originText: Kind = (value) =>
  typeof value === "string" && /^[A-Za-z0-9_.-]{1,64}$/.test(value)
    ? undefined
    : "a text of 1 to 64 letters, digits, '_', '.' or '-'"

const nameText: Kind = (value) =>
  typeof value === "string" && /^[A-Za-z0-9_-][A-Za-z0-9_.-]{0,63}$/.test(value)
    ? undefined
    : "a text of 1 to 64 letters, digits, '_', '.' or '-' that does not begin with a dot"

const transportText: Kind = (value) =>
  typeof value === "string" && /^(?:mesh$|(?:nats|tls|redis|rediss):\/\/.)/.test(value)
    ? undefined
    : "mesh, or the URL of a server: nats://host:4222, redis://host:6379"

/** Messages do not show it. */
const secretText: Kind = (value) =>
  typeof value === "string" && Buffer.byteLength(value) >= 16 ? undefined : "a text of at least 16 bytes"

const oneOf =
  (...words: readonly string[]): Kind =>
  (value) =>
    typeof value === "string" && words.includes(value) ? undefined : `one of ${words.join(", ")}`

const flag: Kind = (value) => (typeof value === "boolean" ? undefined : "true or false")

const tier: Kind = (value) =>
  isGroup(value) && typeof (value as Partial<Tier>).get === "function" ? undefined : "an object with a name and a get"

/** Given by the program and not looked into. */
const anything: Kind = () => undefined

const tenantLimitKinds: Kinds = Object.fromEntries(
  Object.entries(tenantLimitRanges).map(([name, [min, max]]) => [name, whole(min, max)])
)

const kinds = {
  maxEntries: numberFrom(1),
  maxBytes: numberFrom(1),
  dataDir: text,
  egressAllow: texts,
  httpAllow: texts,
  tenants: { tenantsMax: whole(0, 1_000_000) },
  tenantBytesMax: numberFrom(1),
  scripts: {
    runsMax: whole(0, 1_000_000),
    statesMax: whole(0, 1_000_000),
    machinesMax: whole(1, 256), // of 0.3 to 10 MB each
    imageBytesMax: whole(0, 2 ** 40),
    limits: tenantLimitKinds,
    random: anything,
    clock: anything,
    fuelPerSliceMs: numberFrom(0)
  },
  cascade: {
    depth: whole(0, 1_000),
    runs: whole(0, 1_000_000),
    fuel: numberFrom(0),
    deliveries: numberFrom(0)
  },
  intensity: {
    killsMax: whole(0, 10_000), // the times of so many failures are kept, for each trigger that fails
    timeoutsMax: whole(0, 10_000),
    errorsMax: whole(0, 10_000),
    withinMs: numberFrom(1)
  },
  eventLog: whole(0, 100_000),
  namespace: nameText,
  coherence: {
    transport: transportText,
    secret: secretText,
    region: nameText,
    ackMode: oneOf(...ackModes),
    whenDegraded: oneOf("cap", "bypass", "serve"),
    partitionTtlMs: numberFrom(0, 86_400_000),
    warming: oneOf("never", "likely", "always"),
    warmingBytesPerSecond: numberFrom(1),
    logsMembers: flag,
    mesh: {
      host: text,
      port: whole(0, 65_535),
      advertise: text,
      seeds: texts,
      dns: text,
      beacon: anything,
      tls: anything,
      frameBytesMax: whole(frameBytesMaxDefault, 2 ** 30), // what members answer each other has to fit
      queueBytesMax: whole(2 * frameBytesMaxDefault, 2 ** 40),
      handshakeTimeoutMs: numberFrom(1),
      livenessMs: numberFrom(1),
      beaconMs: numberFrom(0),
      resolve: anything,
      random: anything,
      nowMs: anything
    }
  },
  tier,
  origin: originText
} satisfies KindsOf<Settings>

/** A kind for each setting that there is: the compiler says when one is missing. */
type KindsOf<S> = { readonly [Name in keyof Required<S>]: Kind | Kinds }

/** Others than the known ones may be among them: they are nobody's here. */
const checked = (settings: object, path: string, known: Kinds): object | RangeError => {
  const given: Record<string, unknown> = {}
  for (const [name, kind] of Object.entries(known)) {
    const value: unknown = (settings as Record<string, unknown>)[name]
    if (value === undefined) continue
    const wanted = typeof kind === "function" ? kind(value) : isGroup(value) ? undefined : "an object with settings"
    if (wanted !== undefined) {
      const given = kind === secretText ? "what was given" : shown(value)
      return new RangeError(`${path}${name} is ${wanted}; not ${given}`)
    }
    const taken = typeof kind === "function" ? value : checked(value as object, `${path}${name}.`, kind)
    if (taken instanceof RangeError) return taken
    given[name] = taken
  }
  return given
}

const unknownIn = (settings: object, path: string, known: Kinds): RangeError | undefined => {
  for (const [name, value] of Object.entries(settings)) {
    const kind = Object.hasOwn(known, name) ? known[name] : undefined
    if (kind === undefined) {
      return new RangeError(`there is no setting ${path}${name}; there are ${Object.keys(known).join(", ")}`)
    }
    const inside = typeof kind === "function" || !isGroup(value) ? undefined : unknownIn(value, `${path}${name}.`, kind)
    if (inside !== undefined) return inside
  }
  return undefined
}

const isGroup = (value: unknown): value is object =>
  typeof value === "object" && value !== null && !Array.isArray(value)

const shown = (value: unknown): string => {
  const text = typeof value === "string" ? `'${value}'` : String(value)
  return text.length <= 80 ? text : `${text.slice(0, 80)}…`
}
