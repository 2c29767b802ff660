/**
 * Random Lua that means harm: programs from a grammar in which every hook of the language (metamethods, coroutines,
 * closed variables, message handlers, loaders, comparators, callbacks) may hold another hostile function, every number
 * may be an extreme and every string a pattern, a format or a name that means something to somebody.
 */
import type { Random } from "../support/Random.ts"

export const hostileProgram = (random: Random): string => {
  const writer = new Writer(random)
  const statements = Array.from({ length: random.between(1, 7) }, () => {
    const statement = writer.statement(4, false)
    return random.oneIn(3) ? statement : `pcall(function(...) ${statement} end, event)` // or the first error would end it
  })
  if (random.oneIn(3)) statements.push(`return ${writer.list(3, 3)}`)
  const source = statements.join("\n")
  return random.oneIn(12) ? garble(source, random) : source
}

/** Some bytes replaced, doubled or cut out: what the compiler makes of it is its own affair. */
const garble = (source: string, random: Random): string => {
  let text = source
  for (let n = random.between(1, 6); n > 0; n--) {
    const at = random.below(text.length + 1)
    const put = random.pick(["", String.fromCharCode(random.below(256)), random.pick(pieces)])
    text = text.slice(0, at) + put + text.slice(at + random.below(4))
  }
  return text
}

const pieces = [
  "\x1bLua",
  "[[",
  "]==]",
  "--[",
  "::",
  "goto ",
  "end ",
  "...",
  "<close>",
  "0x",
  "\\",
  "'",
  "\0",
  "(((((((("
]

const names = ["a", "b", "c", "d", "e", "g", "h"]

const numbers = [
  "0",
  "1",
  "-1",
  "2",
  "3",
  "7",
  "200",
  "255",
  "256",
  "1e4",
  "65537",
  "1e9",
  "2147483647",
  "2147483648",
  "-2147483649",
  "4294967296",
  "9007199254740993",
  "math.maxinteger",
  "math.mininteger",
  "math.huge",
  "-math.huge",
  "(0/0)",
  "1e308",
  "1e-320",
  "0.1",
  "-0.0",
  "0x1p-1074",
  "9".repeat(400)
]

const strings = [
  "''",
  "'x'",
  "'\\0'",
  "'\\xff\\xfe'",
  "'abcabc'",
  "'10'",
  "'0x10'",
  "'1e999'",
  "'%d %s %q %5.3f %c'",
  "'%99999d'",
  "'.-.-.-b'",
  "'(.-)(.-)%1'",
  "'%b()%f[%w]'",
  "'(()'",
  "'[^%'",
  "'%'",
  "'a*a*a*b'",
  "'__index'",
  "'__gc'",
  "'__proto__'",
  "'constructor'",
  "'prototype'",
  "'i16'",
  "'!16 s8 z B'",
  "'c2147483640'",
  "'\\u{7fffffff}'",
  "'\\27Lua'",
  "'k'",
  "'kv'",
  "'n'",
  "'*t'",
  "'!%Y'",
  "string.rep('a', 3000)",
  "string.rep('(', 300)",
  "[==[ ]] ]=] ]==]",
  `'${"y".repeat(700)}'`
]

const metamethods = (
  "index newindex call tostring pairs close metatable eq lt le len concat unm add sub mul div mod pow idiv band bor bxor " +
  "bnot shl shr gc mode name"
).split(" ")

const binary = "+ - * / // % ^ & | ~ << >> .. == ~= < <= > >= and or".split(" ")

const unary = ["- ", "#", "not ", "~"]

const tables = ["string", "table", "math", "utf8", "coroutine", "os", "cache", "cachee", "_G", "_ENV", "event"]

/** Functions that do not come back by themselves, in Lua and in C. */
const endless = [
  "function(...) while true do end end",
  "function(...) repeat until false end",
  "function(...) ::again:: goto again end",
  "function(...) local function f() return f() end return f() end",
  "function(...) local function f() return 1 + f() end return f() end",
  "function(...) while true do pcall(error, ...) end end",
  "function(...) while true do coroutine.yield(...) end end",
  "function(...) local t = {} while true do t[#t + 1] = { ... } end end"
]

const endlessCalls = [
  "string.rep('a', 3000):find('.-.-.-b')",
  "string.rep('a', 1000):gsub('(a*)*', '%1%1')",
  "string.rep('x', 1e9)",
  "string.rep('', 1e9, '')",
  "table.move({}, 1, 1e9, 2)",
  "table.concat(setmetatable({}, { __index = function() return '' end }), '', 1, 1e9)",
  "table.unpack({}, 1, 1e8)",
  "table.sort(setmetatable({}, { __len = function() return 1e6 end, __index = function() return 1 end }))",
  "table.insert(setmetatable({}, { __len = function() return 1e9 end }), 1, 1)",
  "string.format('%99.99f', 1e308)",
  "utf8.len(string.rep('\u{7ff}', 5000))",
  "cache.work(1e9)",
  "cache.echo(cache.deep())",
  "xpcall(error, function() while true do end end)"
]

const libraries = (
  "assert error getmetatable ipairs next pairs pcall rawequal rawget rawlen rawset select setmetatable tonumber tostring type " +
  "xpcall print load collectgarbage string.byte string.char string.find string.format string.gmatch string.gsub string.len " +
  "string.lower string.match string.rep string.reverse string.sub string.upper string.pack string.packsize string.unpack " +
  "table.concat table.insert table.move table.pack table.remove table.sort table.unpack math.abs math.floor math.fmod " +
  "math.max math.random math.randomseed math.tointeger math.type math.ult utf8.char utf8.codepoint utf8.codes utf8.len " +
  "utf8.offset coroutine.close coroutine.create coroutine.isyieldable coroutine.resume coroutine.running coroutine.status " +
  "coroutine.wrap coroutine.yield os.time os.date os.clock cache.get cache.set cache.delete cache.emit cache.log cache.fail " +
  "cache.echo cache.big cache.deep cache.work cachee.get"
).split(" ")

class Writer {
  private label = 0

  constructor(private readonly random: Random) {}

  block(depth: number, isInLoop: boolean): string {
    const statements = Array.from({ length: this.random.between(1, 3) }, () => this.statement(depth - 1, isInLoop))
    return statements.join(" ")
  }

  statement(depth: number, isInLoop: boolean): string {
    const { random } = this
    if (depth <= 0) return this.simple(isInLoop)
    const body = () => this.block(depth, isInLoop)
    const loop = () => this.block(depth, true)
    switch (random.below(22)) {
      case 0:
        return `while ${this.condition(depth)} do ${loop()} end`
      case 1:
        return `repeat ${loop()} until ${this.condition(depth)}`
      case 2:
        return `for i = ${this.number()}, ${this.number()}${random.oneIn(3) ? `, ${this.number()}` : ""} do ${loop()} end`
      case 3:
        return `for k, v in ${this.iterator(depth)} do ${loop()} end`
      case 4:
        return `if ${this.condition(depth)} then ${body()} elseif ${this.condition(depth)} then ${body()} else ${body()} end`
      case 5:
        return `do ${body()} end`
      case 6: {
        const label = `l${this.label++}`
        return random.oneIn(2)
          ? `do goto ${label} ${body()} ::${label}:: end`
          : `do ::${label}:: ${body()} if ${this.condition(depth)} then goto ${label} end end`
      }
      case 7:
        return `do local z <close> = setmetatable({}, { __close = ${this.callback(depth)} }) ${body()} end`
      case 8:
        return `do local k <const> = ${this.expression(depth)} ${body()} end`
      case 9:
        return `function ${random.pick(names)}(...) ${this.functionBody(depth)} end`
      case 10:
        return `local function ${random.pick(names)}(...) ${this.functionBody(depth)} end`
      case 11:
        return `pcall(function(...) ${this.functionBody(depth)} end, ${this.list(2, depth)})`
      case 12:
        return `xpcall(${this.callback(depth)}, ${this.callback(depth)}, ${this.list(2, depth)})`
      case 13:
        return `coroutine.wrap(function(...) ${this.functionBody(depth)} end)(${this.list(2, depth)})`
      case 14:
        return `pcall(load, ${this.chunk(depth)})`
      case 15:
        return `local _ENV = ${random.pick(["_ENV", "{}", "setmetatable({}, { __index = _ENV })", "nil", "event"])}`
      default:
        return this.simple(isInLoop)
    }
  }

  private simple(isInLoop: boolean): string {
    const { random } = this
    const depth = 2
    switch (random.below(isInLoop ? 12 : 11)) {
      case 0:
      case 1:
        return `local ${random.pick(names)} = ${this.expression(depth)}`
      case 2:
        return `${random.pick(names)}, ${random.pick(names)} = ${this.list(2, depth)}`
      case 3:
        return `${this.place()} = ${this.expression(depth)}`
      case 4:
        return `do return ${this.list(2, depth)} end`
      case 5:
        return `pcall(error, ${this.list(2, depth)})`
      case 6:
        return random.oneIn(4) ? `error(${this.list(2, depth)})` : `pcall(${this.list(3, depth)})`
      case 11:
        return "break"
      default:
        return `pcall(${random.pick(libraries)}, ${this.list(random.between(1, 4), depth)})`
    }
  }

  private functionBody(depth: number): string {
    return `${this.block(depth, false)} ${this.random.oneIn(2) ? `return ${this.list(2, 1)}` : ""}`
  }

  /** A comma list of at least one expression. */
  list(countMax: number, depth: number): string {
    return Array.from({ length: this.random.between(1, countMax) }, () => this.expression(depth - 1)).join(", ")
  }

  private condition(depth: number): string {
    return this.random.oneIn(3) ? "true" : this.expression(depth - 1)
  }

  expression(depth: number): string {
    const { random } = this
    if (depth <= 0) return this.leaf()
    switch (random.below(16)) {
      case 0:
        return `(${this.expression(depth - 1)} ${random.pick(binary)} ${this.expression(depth - 1)})`
      case 1:
        return `(${random.pick(unary)}${this.expression(depth - 1)})`
      case 2:
        return this.table(depth)
      case 3:
      case 4:
        return this.object(depth)
      case 5:
        return this.callback(depth)
      case 6:
      case 7:
      case 8:
        return `${random.pick(libraries)}(${this.list(4, depth)})`
      case 9:
        return random.oneIn(2) ? random.pick(endlessCalls) : `(${this.leaf()})[ ${this.expression(depth - 1)} ]`
      case 10:
        return `(${this.leaf()}):${random.pick(["rep", "gsub", "find", "format", "byte", "len", "pack", "x"])}(${this.list(3, depth)})`
      case 11:
        return `coroutine.${random.pick(["create", "wrap"])}(${this.callback(depth)})`
      case 12:
        return `load(${this.chunk(depth)})`
      case 13:
        return `select(${this.number()}, ...)`
      default:
        return this.leaf()
    }
  }

  private leaf(): string {
    const { random } = this
    switch (random.below(10)) {
      case 0:
        return random.pick(["nil", "true", "false", "...", "i", "k", "v"])
      case 1:
      case 2:
        return this.number()
      case 3:
      case 4:
        return random.pick(strings)
      case 5:
        return random.pick(tables)
      case 6:
        return random.pick(libraries)
      case 7:
        return `event.${random.pick(["key", "value", "old_value", "metadata", "nothing"])}`
      default:
        return random.pick(names)
    }
  }

  private number(): string {
    return this.random.pick(numbers)
  }

  private table(depth: number): string {
    const { random } = this
    const parts = Array.from({ length: random.below(5) }, () => {
      const value = this.expression(depth - 1)
      return random.oneIn(3) ? value : random.oneIn(2) ? `x = ${value}` : `[ ${this.leaf()} or 1 ] = ${value}`
    })
    return `{ ${parts.join(", ")} }`
  }

  /** A table with metamethods: hostile functions, other objects, or what has no business there. */
  private object(depth: number): string {
    const { random } = this
    const parts = Array.from({ length: random.between(1, 3) }, () => {
      const value = random.oneIn(4) ? this.expression(depth - 1) : this.callback(depth - 1)
      return `__${random.pick(metamethods)} = ${value}`
    })
    return `setmetatable(${this.table(1)}, { ${parts.join(", ")} })`
  }

  /** What somebody else is going to call. */
  private callback(depth: number): string {
    const { random } = this
    switch (random.below(12)) {
      case 0:
        return random.pick(endless)
      case 1:
        return `function(...) error(${this.leaf()}) end`
      case 2:
        return `function(...) return ${random.pick(["true", "1e9", "1", "''", "nil", "event", "{}", "..."])} end`
      case 3:
        return "function(...) coroutine.yield(...) end"
      case 4:
        return random.pick(libraries)
      case 5:
        return `function(...) return ${random.pick(names)}(...) end`
      case 6:
        return "function(t, k, ...) return t[k] end"
      case 7:
        return `function(...) ${random.pick(names)} = { ${random.pick(names)}, ... } end`
      default:
        return depth <= 0 ? random.pick(libraries) : `function(...) ${this.functionBody(depth - 1)} end`
    }
  }

  private iterator(depth: number): string {
    const { random } = this
    switch (random.below(5)) {
      case 0:
        return `pairs(${this.expression(depth - 1)})`
      case 1:
        return `ipairs(${this.object(depth - 1)})`
      case 2:
        return `string.gmatch(${random.pick(strings)}, ${random.pick(strings)})`
      case 3:
        return `next, ${random.pick(tables)}`
      default:
        return this.callback(depth)
    }
  }

  private chunk(depth: number): string {
    const { random } = this
    switch (random.below(4)) {
      case 0:
        return this.callback(depth - 1)
      case 1:
        return `${random.pick(strings)}, 'x', ${random.pick(["'b'", "'t'", "'bt'", "nil"])}, ${random.pick(tables)}`
      default:
        return `${quote(this.statement(depth - 1, false))}, 'x', 't'${random.oneIn(2) ? `, ${random.pick(tables)}` : ""}`
    }
  }

  private place(): string {
    const { random } = this
    if (random.oneIn(3)) return random.pick(names)
    return `${random.pick(random.oneIn(2) ? tables : names)}[ ${this.leaf()} ]`
  }
}

const quote = (source: string): string => {
  let level = ""
  while (`${source}]`.includes(`]${level}]`)) level += "="
  return `[${level}[${source}]${level}]`
}
