/** What may be set when a Mimosa starts: wrong values and misspelt names are told of, by name and with what would be right. */
import { Cause, Effect, Exit, Layer } from "effect"
import { describe, expect, it } from "vitest"
import { Mimosa } from "../src/index.ts"
import { checkedSettings, unknownSetting } from "../src/Settings.ts"

/** As JavaScript may give them. */
const settings = (given: object): Mimosa.Settings => given as Mimosa.Settings

const wrong = (given: object): string => {
  const checked = checkedSettings(settings(given))
  return checked instanceof RangeError ? checked.message : "none"
}

describe("settings", () => {
  it("are taken as they are, without those that are undefined", () => {
    const clock = { elapsedMs: () => 0, defer() {}, after: () => () => {} }
    const given = {
      maxEntries: 5,
      dataDir: "data",
      egressAllow: ["*"],
      httpAllow: [],
      tenants: { tenantsMax: 0 },
      tenantBytesMax: Number.POSITIVE_INFINITY,
      scripts: { machinesMax: 1, limits: { computeMs: 5 }, clock },
      cascade: { depth: 0, runs: undefined },
      intensity: { errorsMax: 1 },
      eventLog: 0,
      origin: "node-1"
    }
    const checked = checkedSettings(settings({ ...given, maxBytes: undefined }))
    expect(checked).toStrictEqual({ ...given, cascade: { depth: 0 } })
    expect(checked).toHaveProperty("scripts.clock", clock)
    expect([checkedSettings({}), unknownSetting({}), unknownSetting(settings(given))]).toEqual([
      {},
      undefined,
      undefined
    ])
  })

  it.each([
    [{ maxEntries: 0 }, "maxEntries is a number from 1; not 0"],
    [{ maxBytes: Number.NaN }, "maxBytes is a number from 1; not NaN"],
    [{ maxEntries: "5" }, "maxEntries is a number from 1; not '5'"],
    [{ dataDir: "" }, "dataDir is a text that is not empty; not ''"],
    [{ egressAllow: "127.0.0.1" }, "egressAllow is an array of texts; not '127.0.0.1'"],
    [{ httpAllow: [1] }, "httpAllow is an array of texts; not 1"],
    [{ tenants: 5 }, "tenants is an object with settings; not 5"],
    [{ tenants: { tenantsMax: -1 } }, "tenants.tenantsMax is a whole number from 0 to 1000000; not -1"],
    [{ tenantBytesMax: 0 }, "tenantBytesMax is a number from 1; not 0"],
    [{ scripts: { machinesMax: 0 } }, "scripts.machinesMax is a whole number from 1 to 256; not 0"],
    [{ scripts: { limits: { waitMs: -1 } } }, "scripts.limits.waitMs is a whole number from 0 to 3600000; not -1"],
    [{ cascade: { depth: 1.5 } }, "cascade.depth is a whole number from 0 to 1000; not 1.5"],
    [{ intensity: null }, "intensity is an object with settings; not null"],
    [{ intensity: { errorsMax: Number.POSITIVE_INFINITY } }, "intensity.errorsMax is a whole number from 0 to 10000"],
    [{ eventLog: 100_001 }, "eventLog is a whole number from 0 to 100000; not 100001"],
    [{ origin: "a b" }, "origin is a text of 1 to 64 letters, digits, '_', '.' or '-'; not 'a b'"]
  ])("of %j are refused", (given, why) => {
    expect(wrong(given)).toContain(why)
  })

  it.each([
    [{ maxEntry: 5 }, "there is no setting maxEntry; there are maxEntries, maxBytes, dataDir, "],
    [{ scripts: { machines: 5 } }, "there is no setting scripts.machines; there are runsMax, "],
    [{ scripts: { limits: { compute: 5 } } }, "there is no setting scripts.limits.compute; there are maxEntries, "],
    [{ toString: 5 }, "there is no setting toString; "]
  ])("of %j are told of as unknown", (given, why) => {
    expect(unknownSetting(settings(given))?.message).toContain(why)
  })

  it("say with whom keys are shared, where they say how", () => {
    const alone = "coherence.region is given and namespace is not, without which nothing is shared: give it, too"
    expect(wrong({ coherence: { region: "eu-west", ackMode: "live" } })).toBe(alone)
    expect(wrong({ coherence: { mesh: {} } })).toContain("coherence.mesh is given and namespace is not")
    for (const coherence of [undefined, {}, { secret: undefined }]) expect(wrong({ coherence })).toBe("none")
    expect(wrong({ namespace: "shop", coherence: { region: "eu-west" } })).toBe("none")
  })

  it("say how the mesh is reached only where there is one", () => {
    const both = "coherence.mesh is given, and coherence.transport is not mesh: leave one of the two out"
    const mesh = { port: 7000 }
    expect(wrong({ namespace: "shop", coherence: { mesh, transport: "redis://127.0.0.1" } })).toBe(both)
    expect(wrong({ namespace: "shop", coherence: { mesh, transport: "mesh" } })).toBe("none")
    expect(wrong({ namespace: "shop", coherence: { mesh } })).toBe("none")
  })

  it("are looked at by the layers: a wrong one is a defect, an unknown one where nobody else's are among them", async () => {
    const whyNot = async (layer: Layer.Layer<Mimosa.Services, Mimosa.StartError>) => {
      const exit = await Effect.runPromiseExit(Effect.scoped(Layer.build(layer)))
      return Exit.isSuccess(exit) ? "none" : Cause.squash(exit.cause)
    }
    const misspelt = settings({ maxEntry: 5 })
    expect(await whyNot(Mimosa.layer({ maxEntries: 0 }))).toEqual(new RangeError(wrong({ maxEntries: 0 })))
    expect(await whyNot(Mimosa.layer(misspelt))).toEqual(unknownSetting(misspelt))
    expect(await whyNot(Mimosa.layerWith(misspelt, []))).toBe("none")
  })
})
