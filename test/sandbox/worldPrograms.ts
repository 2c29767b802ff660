/** Programs for the tests of worlds: what is random in them, and where they pause. */
import type { Random } from "../support/Random.ts"

/**
 * The body of a function that makes tables, strings, closures, errors and coroutines, pauses in between, and returns a
 * digest that begins with "end". `pause` makes a statement of a text to be given away.
 */
export const programOf = (random: Random, pause: (text: string) => string): string => {
  const name = () => random.pick(["a", "b", "c", "d"])
  const statement = (): string => {
    switch (random.below(10)) {
      case 0:
        return `${name()}[#${name()} + 1] = ${random.below(1000)}`
      case 1:
        return `${name()}["k" .. #${name()}] = ("${name()}"):rep(${random.below(300)})`
      case 2:
        return `for i = 1, ${random.below(60)} do ${name()}[i] = { i, tostring(i * ${random.below(99)}) } end`
      case 3:
        return `${name()} = { ${name()}, next(${name()}) }`
      case 4:
        return `pcall(error, { ${random.below(9)} })`
      case 5:
        return `local n = math.random(${1 + random.below(1000)}) ${name()}.f = function() n = n + 1 return n end`
      case 6:
        return `${name()}.co = coroutine.wrap(function(...) for i = 1, 9 do coroutine.yield(i, ...) end end)`
      case 7:
        return "for _, t in ipairs { a, b, c, d } do if t.co then pcall(t.co, t) end if t.f then seen = t.f() end end"
      case 8:
        return `${name()} = setmetatable({}, { __index = ${name()}, __call = function(_, x) return x end })`
      default:
        return `global = table.concat({ tostring(global), #a, #b, seen or 0 }, ","):sub(-${1 + random.below(200)})`
    }
  }
  const steps = Array.from({ length: 1 + random.below(8) }, () => {
    const statements = Array.from({ length: random.below(12) }, () => `do ${statement()} end`).join("\n")
    return `${statements}\n${pause('"at " .. tostring(global) .. #a .. math.random(9)')}`
  })
  return `local a, b, c, d = {}, {}, {}, {}\n${steps.join("\n")}\nreturn "end " .. tostring(global) .. tostring(a)`
}
