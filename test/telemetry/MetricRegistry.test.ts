import { describe, expect, it } from "vitest"
import { Histogram, MetricRegistry, metric } from "../../src/telemetry/index.ts"

describe("MetricRegistry", () => {
  it("renders help, type and value of a plain reader, read anew each time", () => {
    let hits = 1
    const registry = new MetricRegistry()
    registry.register({ name: "a_total", help: "All of a.", type: "counter", read: () => hits })
    expect(registry.render()).toBe("# HELP a_total All of a.\n# TYPE a_total counter\na_total 1\n")
    hits = 2
    expect(registry.render()).toContain("\na_total 2\n")
  })

  it("renders one line for each combination of labels, in the order read", () => {
    const registry = new MetricRegistry()
    const read = () =>
      new Map([
        [{ cause: "evict" }, 1],
        [{ cause: "expire", tenant: "t" }, 2]
      ])
    registry.register({ name: "b", help: "B", type: "gauge", read })
    expect(registry.render().split("\n").slice(2)).toEqual(['b{cause="evict"} 1', 'b{cause="expire",tenant="t"} 2', ""])
  })

  it("escapes backslash, quote and line feed in labels, and all but the quote in help", () => {
    const registry = new MetricRegistry()
    registry.register({ name: "c", help: 'a\\b"c\nd', type: "gauge", read: () => [[{ l: 'x\\y"z\nw' }, 1]] })
    expect(registry.render()).toBe('# HELP c a\\\\b"c\\nd\n# TYPE c gauge\nc{l="x\\\\y\\"z\\nw"} 1\n')
  })

  it("writes values that are no finite number as Prometheus does", () => {
    const registry = new MetricRegistry()
    const values = [Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY, 0.5, 1e21]
    registry.register({ name: "d", help: "D", type: "gauge", read: () => values.map((v, i) => [{ i: `${i}` }, v]) })
    expect([...registry.render().matchAll(/} (.*)\n/g)].map(([, value]) => value)).toEqual([
      "NaN",
      "+Inf",
      "-Inf",
      "0.5",
      "1e+21"
    ])
  })

  it("renders a histogram as cumulative buckets up to +Inf, with sum and count", () => {
    const histogram = new Histogram([0.1, 1])
    for (const value of [0.1, 0.5, 7]) histogram.record(value)
    const registry = new MetricRegistry()
    registry.register({ name: "e", help: "E", type: "histogram", read: () => [[{ x: "y" }, histogram]] })
    expect(registry.render().split("\n").slice(2)).toEqual([
      'e_bucket{x="y",le="0.1"} 1',
      'e_bucket{x="y",le="1"} 2',
      'e_bucket{x="y",le="+Inf"} 3',
      'e_sum{x="y"} 7.6',
      'e_count{x="y"} 3',
      ""
    ])
  })

  it("refuses a name that is taken or malformed", () => {
    const registry = new MetricRegistry()
    const reader = (name: string) => ({ name, help: "", type: "gauge", read: () => 0 }) as const
    registry.register(reader("f"))
    expect(() => registry.register(reader("f"))).toThrow("metric f: registered twice")
    expect(() => registry.register(reader("f-g"))).toThrow("metric f-g: not a Prometheus metric name")
  })
})

describe("metric names", () => {
  const metrics = Object.values(metric)

  it("are each given once, begin with mimosa_ or are Prometheus' own of a process, and end in _total exactly when they only grow", () => {
    expect(new Set(metrics.map(({ name }) => name)).size).toBe(metrics.length)
    expect(metrics.filter(({ name }) => !/^(mimosa|process)_[a-z_]+[a-z]$/.test(name))).toEqual([])
    expect(metrics.filter(({ name, type }) => name.endsWith("_total") !== (type === "counter"))).toEqual([])
  })
})
