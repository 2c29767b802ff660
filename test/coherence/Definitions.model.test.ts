/**
 * Registers of definitions under everything that a network and a machine may do: frames are lost, repeated and swapped,
 * nodes are cut off from each other and started anew from what they had saved. Once it is quiet all are the same, of
 * each id the highest that anybody has set holds, and what is in effect is what the register says.
 */
import { describe, expect, it } from "vitest"
import { type DefinitionMessage, decodeMessage, encodeMessage } from "../../src/coherence/DefinitionMessage.ts"
import { type Definition, type DefinitionId, type DefinitionSource, Definitions } from "../../src/coherence/index.ts"
import { forAllSeeds, propertyTimeoutMs, Random } from "../support/Random.ts"

type News =
  | { readonly type: "frame"; readonly payload: Uint8Array }
  | { readonly type: "define"; readonly hash: number; readonly version: number }
  | { readonly type: "hello" }

interface Sent {
  readonly from: number
  readonly to: number
  readonly news: News
}

/** Some nodes, and whatever is on its way between them. */
class World {
  nowMs = 1_000
  readonly nodes: Node[] = []
  readonly origins = new Map<number, Node>()
  private underWay: Sent[] = []
  isCalm = false
  /** Who hears of whom only when it is over. */
  cut: Node | null = null

  constructor(
    readonly random: Random,
    readonly limits: { readonly definitionsMax?: number; readonly tombstonesMax?: number } = {}
  ) {
    for (let i = 0; i < 3; i++) this.nodes.push(new Node(this, i))
  }

  send(from: Node, to: number, news: News): void {
    const receiver = this.origins.get(to)
    if (receiver === undefined || this.isCutOff(from, receiver)) return
    const copies = this.isCalm || !this.random.oneIn(8) ? 1 : this.random.below(3)
    for (let i = 0; i < copies; i++) this.underWay.push({ from: from.origin, to, news })
  }

  isCutOff(one: Node, other: Node): boolean {
    return this.cut !== null && (one === this.cut) !== (other === this.cut)
  }

  deliver(count: number): void {
    for (let i = 0; i < count && this.underWay.length > 0; i++) {
      const at = this.isCalm ? 0 : this.random.below(Math.min(6, this.underWay.length))
      const [{ from, to, news }] = this.underWay.splice(at, 1) as [Sent]
      const node = this.origins.get(to)
      if (node === undefined) continue
      if (news.type === "frame") node.register.onFrame(from, news.payload)
      else if (news.type === "hello") node.register.onMember(from)
      else node.register.onDefine(news.hash, news.version, from)
    }
  }

  settle(): void {
    this.isCalm = true
    this.cut = null
    for (let beat = 0; beat < 400 && (beat < 60 || !this.areEqual()); beat++) {
      for (const { register } of this.nodes) register.onBeat()
      this.deliver(10_000)
    }
  }

  areEqual(): boolean {
    return new Set(this.nodes.map((node) => node.text())).size === 1
  }
}

class Node implements DefinitionSource {
  readonly isBusy = false
  origin = 0
  register!: Definitions
  /** What is in effect here, and survives. */
  private room = new Map<string, string>()
  skewMs: number
  private starts = 0

  constructor(
    readonly world: World,
    private readonly index: number
  ) {
    this.skewMs = world.random.between(-500, 500)
    this.start([])
  }

  /** With what it has saved: the versions of what was in effect, and of what was removed. */
  restart(): void {
    this.world.origins.delete(this.origin)
    this.start([...this.register.all()].filter((row) => (this.room.get(keyOf(row)) ?? null) === row.body))
  }

  private start(saved: readonly Definition[]): void {
    const { world } = this
    this.origin = 1 + this.index + 10 * ++this.starts
    world.origins.set(this.origin, this)
    this.register = new Definitions({ hashSecret: "", nowMs: () => world.nowMs + this.skewMs, ...world.limits })
    this.register.bind({
      origin: this.origin,
      fresh: () => [...this.others()].map(({ origin }) => origin),
      say: (to, payload) => world.send(this, to, { type: "frame", payload }),
      record: (hash, version) => {
        for (const { origin } of this.others()) world.send(this, origin, { type: "define", hash, version })
      },
      random: () => world.random.next()
    })
    // Tenants first, as in a program.
    for (const row of saved) if (row.owner === "") this.register.restore(row)
    for (const row of saved) if (row.owner !== "") this.register.restore(row)
    this.register.listen(this)
    for (const { origin } of this.others()) world.send(this, origin, { type: "hello" })
  }

  private *others(): Iterable<Node> {
    for (const node of this.world.origins.values()) {
      if (node !== this && !this.world.isCutOff(this, node)) yield node
    }
  }

  set(id: DefinitionId, body: string | null): Definition | undefined {
    if (id.owner !== "" && !this.room.has(keyOf(tenantId(id.owner)))) return undefined
    if (!this.register.set(id, body)) return undefined
    this.effect(id, body)
    if (id.kind === "tenant" && body !== null) this.bringOwned(id.name)
    return this.register.get(id)
  }

  onDefinition(definition: Definition, isAnother: boolean): void {
    if (isAnother) this.effect(definition, null)
    if (definition.owner !== "" && !this.room.has(keyOf(tenantId(definition.owner)))) return
    this.effect(definition, definition.body)
    if (definition.kind === "tenant") this.bringOwned(definition.name)
  }

  private bringOwned(tenant: string): void {
    for (const owned of this.register.ownedBy(tenant)) this.effect(owned, owned.body)
  }

  private effect(id: DefinitionId, body: string | null): void {
    if (body !== null) this.room.set(keyOf(id), body)
    else this.room.delete(keyOf(id))
    if (id.kind !== "tenant" || body !== null) return
    for (const key of [...this.room.keys()]) if (key.split(" ")[1] === id.name) this.room.delete(key)
  }

  inEffect(): string[] {
    return Array.from(this.room, ([key, body]) => `${key} ${body}`).sort()
  }

  /** What its register says should be in effect. */
  shouldBe(): string[] {
    const present = [...this.register.all()].filter(({ body }) => body !== null)
    return present
      .filter(({ owner }) => owner === "" || this.register.get(tenantId(owner)) !== undefined)
      .map((row) => `${keyOf(row)} ${row.body}`)
      .sort()
  }

  text(): string {
    return JSON.stringify([...this.register.all()].map((row) => JSON.stringify(row)).sort())
  }
}

const keyOf = ({ kind, owner, name }: DefinitionId) => `${kind} ${owner} ${name}`
const tenantId = (name: string): DefinitionId => ({ kind: "tenant", owner: "", name })

const anId = (random: Random): DefinitionId => {
  const name = random.pick(["x", "y", "z"])
  if (random.oneIn(3)) return tenantId(random.pick(["t", "u"]))
  return { kind: random.pick(["trigger", "script"]), owner: random.pick(["", "", "t", "u"]), name }
}

const isHigher = (one: Definition, other: Definition | undefined): boolean =>
  other === undefined || one.version > other.version || (one.version === other.version && one.author > other.author)

/** A restless time, and then a quiet one. Answers what was set last by everybody's measure, by key. */
const lived = (world: World, steps: number): Map<string, Definition> => {
  const { random } = world
  const highest = new Map<string, Definition>()
  for (let step = 0; step < steps; step++) {
    world.nowMs += random.below(50)
    const node = random.pick(world.nodes)
    switch (random.below(12)) {
      case 0:
        world.cut = random.oneIn(2) ? node : null
        if (world.cut === null)
          for (const each of world.nodes)
            for (const origin of world.origins.keys()) {
              if (origin !== each.origin) world.send(each, origin, { type: "hello" })
            }
        break
      case 1:
        if (random.oneIn(3)) node.restart()
        break
      case 2:
      case 3:
        node.register.onBeat()
        break
      case 4:
      case 5:
      case 6:
        world.deliver(random.between(1, 8))
        break
      default: {
        const id = anId(random)
        const set = node.set(id, random.oneIn(3) ? null : `${step}`)
        if (set !== undefined && isHigher(set, highest.get(keyOf(id)))) highest.set(keyOf(id), set)
      }
    }
    for (const { register } of world.nodes) register.checkInvariants()
  }
  world.settle()
  return highest
}

describe("registers of definitions", () => {
  it(
    "come to be the same, with the highest of all that was set, whatever was lost meanwhile",
    async () => {
      let compared = 0
      await forAllSeeds(200, (random) => {
        const world = new World(random)
        const highest = lived(world, 120)
        expect(world.areEqual()).toBe(true)
        const [node] = world.nodes as [Node]
        for (const [key, definition] of highest) {
          const found = node.register.get(definition)
          if (definition.owner === "") {
            expect(found, key).toEqual(definition)
            compared++
          } else if (found !== undefined) {
            const tenant = node.register.get(tenantId(definition.owner))
            expect(tenant === undefined || (tenant.body !== null && found.version > tenant.since)).toBe(true)
          }
        }
        for (const each of world.nodes) expect(each.inEffect()).toEqual(each.shouldBe())
      })
      expect(compared).toBeGreaterThan(1_000)
    },
    propertyTimeoutMs
  )

  it(
    "come to be the same where there is room for few removals",
    async () => {
      let dropped = 0
      await forAllSeeds(100, (random) => {
        const world = new World(random, { tombstonesMax: 2 })
        lived(world, 120)
        expect(world.areEqual()).toBe(true)
        for (const { register } of world.nodes) {
          register.checkInvariants()
          dropped += register.stats.tombstonesDropped
        }
      })
      expect(dropped).toBeGreaterThan(100)
    },
    propertyTimeoutMs
  )

  it("give to a tenant that was made anew nothing of the one before, whoever has missed that it was removed", () => {
    const world = new World(new Random(1))
    world.isCalm = true
    const [one, two, three] = world.nodes as [Node, Node, Node]
    const trigger = { kind: "trigger", owner: "t", name: "x" }
    one.set(tenantId("t"), "first")
    one.set(trigger, "old")
    world.settle()
    world.cut = three
    one.set(tenantId("t"), null)
    world.deliver(100)
    two.set(tenantId("t"), "second")
    two.set({ ...trigger, name: "y" }, "new")
    world.deliver(100)
    expect(three.inEffect()).toEqual(["tenant  t first", "trigger t x old"])
    world.settle()
    for (const node of world.nodes) expect(node.inEffect()).toEqual(["tenant  t second", "trigger t y new"])
    expect(world.areEqual()).toBe(true)
  })

  it.each(["who has it", "who lacks it"])("that differ in much ask for it in portions, when %s begins", (who) => {
    const sent: Array<{ readonly to: number; readonly message: DefinitionMessage; readonly bytes: number }> = []
    const make = (origin: number, other: number) => {
      const register = new Definitions({ hashSecret: "", nowMs: () => 1 })
      register.bind({
        origin,
        fresh: () => [other],
        say: (to, payload) => {
          sent.push({ to, message: decodeMessage(payload) as DefinitionMessage, bytes: payload.length })
        },
        record: () => {},
        random: () => 0
      })
      return register
    }
    const registers = new Map([
      [1, make(1, 2)],
      [2, make(2, 1)]
    ])
    const [one, two] = [registers.get(1), registers.get(2)] as [Definitions, Definitions]
    for (let n = 0; n < 1_000; n++) one.set({ kind: "script", owner: "", name: `${n}` }, "x".repeat(1_000))
    sent.length = 0
    if (who === "who has it") one.onMember(2)
    else two.onMember(1)
    let bytesMax = 0
    let asks = 0
    for (let at = 0; at < sent.length; at++) {
      const { to, message, bytes } = sent[at] as (typeof sent)[number]
      bytesMax = Math.max(bytesMax, bytes)
      if (message.type === "ask") {
        asks++
        expect(message.hashes.length).toBeLessThanOrEqual(256)
      }
      ;(registers.get(to) as Definitions).onFrame(3 - to, encodeMessage(message))
    }
    expect([two.size, two.isSettled, one.isSettled]).toEqual([1_000, true, true])
    expect(bytesMax).toBeLessThan(300_000)
    expect(asks).toBeGreaterThanOrEqual(4)
    expect(two.stats).toMatchObject({ taken: 1_000, stale: 0, asked: expect.any(Number) })
  })

  it("take what others have changed after a hint, when it has not come by the next beat", () => {
    const asked: Array<readonly [to: number, message: DefinitionMessage]> = []
    const register = new Definitions({ hashSecret: "", nowMs: () => 1 })
    let live = [7, 8]
    register.bind({
      origin: 1,
      fresh: () => live,
      say: (to, payload) => void asked.push([to, decodeMessage(payload) as DefinitionMessage]),
      record: () => {},
      random: () => 0
    })
    register.onDefine(5, 9, 7)
    register.onDefine(6, 0, 8) // of a moved bucket: perhaps
    expect(asked).toEqual([])
    register.onBeat()
    register.onBeat()
    expect(asked).toEqual([
      [7, { type: "ask", hashes: [5] }],
      [8, { type: "ask", hashes: [6] }]
    ])
    live = [8]
    register.onFrame(8, encodeMessage({ type: "definitions", definitions: [], unknown: [6], isAnswer: true }))
    asked.length = 0
    for (let beat = 0; beat < 7; beat++) register.onBeat()
    expect(asked.filter(([, { type }]) => type === "ask")).toEqual([])
  })

  it("refuse what there is no room for, and count it", () => {
    const register = new Definitions({ hashSecret: "", nowMs: () => 1, definitionsMax: 2 })
    const id = (name: string) => ({ kind: "script", owner: "", name })
    expect(["a", "b", "c"].map((name) => register.set(id(name), "x"))).toEqual([true, true, false])
    expect(register.set(id("a"), "x".repeat(512 * 1024 + 1))).toBe(false)
    expect(register.set(id("a"), "y")).toBe(true)
    expect(register.get(id("c"))).toBeUndefined()
    register.set(id("b"), null)
    expect(register.set(id("c"), "x")).toBe(true)
    expect(register.stats.refused).toBe(2)
    register.onFrame(2, new TextEncoder().encode("{"))
    expect(register.stats.malformed).toBe(1)
  })
})
