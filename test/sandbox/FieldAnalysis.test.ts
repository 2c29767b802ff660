import { describe, expect, it } from "vitest"
import { analyseFields } from "../../src/sandbox/index.ts"

const names = ["key", "value", "old_value", "metadata"]

const fieldsOf = (source: string): string => {
  const { fields, isDynamic } = analyseFields(source, names)
  return isDynamic ? "dynamic" : fields.join(" ")
}

describe("the fields of a source", () => {
  it.each([
    ["", ""],
    ["return 1", ""],
    ["return event.key", "key"],
    ["return event . value .. event\n.key", "key value"],
    ['return event["old_value"]', "old_value"],
    ["return event[ [[key]] ]", "key"],
    ["return event.nothing", ""],
    [
      "if event.value ~= event.old_value then cache.set(event.key, event.metadata.owner) end",
      "key value old_value metadata"
    ],
    ["event.metadata.owner = 1", "metadata"],
    ["event.key:upper()", "key"],
    ["return #event.value, -event.key", "key value"],
    ["-- event.key\nreturn event.value", "value"],
    ["--[[ event.key\n event ]] return event.value", "value"],
    ["--[==[ event.key ]] event ]==] return event.value", "value"],
    ["--[ event\nreturn event.value", "value"],
    ["return 'event.key', \"event\", [[event]], [=[ event]] ]=]", ""],
    ["return 'it\\'s event', event.key", "key"],
    ['return "a\\\nevent", event.key', "key"],
    ["return x.event, x.event.key, x:event(), { event = 1 }, event.key", "key"],
    ["local e = event\nreturn e.key .. e.value", "key value"],
    ["local e = event; return e.key", "key"],
    ["return 0x1p4 .. 3..2 .. event.key", "key"],
    ["myevent.key = eventful.value", ""],
    ["return event.key == 1, event.value <= 2", "key value"],
    ["f(event.key, event.value)", "key value"]
  ])("%j: %s", (source, expected) => {
    expect(fieldsOf(source)).toBe(expected)
  })

  it.each([
    "return event",
    "f(event)",
    "f{event}",
    "return event[name]",
    "return event['k' .. 'ey']",
    "return event['k\\101y']",
    "event.key = 1",
    "event.key, x = 1, 2",
    "x, event.key = 1, 2",
    "event['key'] = 1",
    "function event.key() end",
    "event = nil",
    "event:method()",
    "for k in pairs(event) do end",
    "local e = ...",
    "return select('#', ...)",
    "return _ENV.event",
    "return _G['event']",
    "load('return event')()",
    "local e = event f(e)",
    "local e = event e = 1 return e.key",
    "local e = event return e[k]",
    "local e = event local e = 1 return e.key",
    "e = event return e.key",
    "local a, e = 1, event return e.key",
    "local e = event or {} return e.key",
    "local e = event == nil return e.key",
    "local e = event e.key = 1",
    "local e = event return function(e) return e.key end",
    "for e in x do end local e = event return e.key",
    "local e <const> = event return e.key",
    "local e = event 'x'",
    "return {event}",
    "return event .. ''",
    "return -- comment\nevent"
  ])("%j: cannot be known", (source) => {
    expect(fieldsOf(source)).toBe("dynamic")
  })

  it("are all of them where they cannot be known", () => {
    expect(analyseFields("return event", names)).toEqual({ fields: names, isDynamic: true, keepsState: false })
    expect(analyseFields("return _G", names)).toEqual({ fields: names, isDynamic: true, keepsState: true })
  })

  // Ten times a source's limit: what grows with the square of it would take minutes here.
  const many = (part: string) => part.repeat(Math.ceil(655_360 / part.length))
  it.each([
    ["comments and brackets", `${"local e = event.key -- [[ \n".repeat(20_000)}${"[==[".repeat(10_000)}`, "key"],
    ["a list of fields", `f(${many("event.value,")} 1)`, "value"],
    ["a list of an alias' fields", `local e = event f(${many("e.key,")} 1)`, "key"],
    ["aliases", Array.from({ length: 40_000 }, (_, i) => `local a${i} = event`).join(" "), ""],
    ["declarations of one alias", many("local a = event "), "dynamic"],
    ["equals signs", `[${many("=")}`, ""],
    ["brackets that do not end", many("[=[ event.value "), ""],
    ["quotes", many("'"), ""]
  ])("are found in time that grows with the source alone: %s", (_, source, expected) => {
    expect(fieldsOf(source)).toBe(expected)
  })
})
