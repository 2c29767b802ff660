/**
 * Lua taken apart as far as questions about a source need it: every expression, with each name resolved to the local that
 * it means or to a global. What statements do with control flow is left out: whoever asks wants what may happen in any
 * order, not what will.
 *
 * For sources that Lua has compiled; anything else is answered with `undefined`, never with a guess. O(length).
 * Source: the complete syntax of Lua, lua.org's manual §9.
 */
import { isName, stringMark, tokenize } from "./internal/tokens.ts"

/** A local variable, a parameter, or what a loop counts with. */
export interface Local {
  readonly name: string
  /** What it was declared with; null where that is no one expression. */
  readonly value: Expression | null
  /** Something else is assigned to it somewhere. */
  isAssigned: boolean
}

export type Expression =
  /** `text` is null where the source spells it with escapes. */
  | { readonly kind: "string"; readonly text: string | null }
  | { readonly kind: "number"; readonly text: string }
  /** `local` is null for a global. */
  | { readonly kind: "name"; readonly name: string; readonly local: Local | null }
  | { readonly kind: "index"; readonly of: Expression; readonly key: Expression }
  | { readonly kind: "call"; readonly callee: Expression; readonly args: readonly Expression[] }
  | { readonly kind: "method"; readonly of: Expression; readonly name: string; readonly args: readonly Expression[] }
  | { readonly kind: "binary"; readonly operator: string; readonly left: Expression; readonly right: Expression }
  | { readonly kind: "table"; readonly items: readonly Expression[]; readonly keys: readonly Expression[] }
  /** Anything else, with the expressions that are part of it. A function's body is not among them: it stands by itself. */
  | { readonly kind: "other"; readonly parts: readonly Expression[] }

export interface ParsedLua {
  /** All expressions that statements hold, bodies of functions included; without what only declares a local. */
  readonly expressions: readonly Expression[]
  /** Where something is assigned to, other than locals. */
  readonly targets: readonly Expression[]
  readonly locals: readonly Local[]
  /** Globals that the chunk makes functions of, in the order of their first definition; outside of any function's body. */
  readonly functions: ReadonlySet<string>
  /** `...` stands where it means the chunk's own arguments. */
  readonly usesArguments: boolean
}

export const parseLua = (source: string): ParsedLua | undefined => {
  const parser = new Parser(tokenize(source))
  try {
    parser.chunk()
    return parser
  } catch (error) {
    if (error instanceof NoLua) return undefined
    throw error
  }
}

class NoLua extends Error {}

const depthMax = 250 // expressions or blocks within each other; Lua itself stops at 200

/** Left and right priority: lparser.c, `priority`. */
const priorities: Readonly<Record<string, readonly [number, number]>> = {
  or: [1, 1],
  and: [2, 2],
  "<": [3, 3],
  ">": [3, 3],
  "<=": [3, 3],
  ">=": [3, 3],
  "~=": [3, 3],
  "==": [3, 3],
  "|": [4, 4],
  "~": [5, 5],
  "&": [6, 6],
  "<<": [7, 7],
  ">>": [7, 7],
  "..": [9, 8],
  "+": [10, 10],
  "-": [10, 10],
  "*": [11, 11],
  "/": [11, 11],
  "//": [11, 11],
  "%": [11, 11],
  "^": [14, 13]
}

const unaryPriority = 12

const blockEnds = new Set(["end", "else", "elseif", "until"])

class Parser implements ParsedLua {
  readonly expressions: Expression[] = []
  readonly targets: Expression[] = []
  readonly locals: Local[] = []
  readonly functions = new Set<string>()
  usesArguments = false
  private at = 0
  private depth = 0
  /** How many functions enclose what is being read. */
  private enclosing = 0
  private scope: Scope = new Scope(null)

  constructor(private readonly tokens: readonly string[]) {}

  chunk(): void {
    this.block()
    if (this.at < this.tokens.length) throw new NoLua()
  }

  // ---- statements

  private block(): void {
    this.nest(() => {
      const outer = this.scope
      this.scope = new Scope(outer)
      this.statements()
      this.scope = outer
    })
  }

  private statements(): void {
    for (let token = this.peek(); token !== undefined && !blockEnds.has(token); token = this.peek()) {
      if (this.take("return")) {
        const next = this.peek()
        if (next !== undefined && next !== ";" && !blockEnds.has(next)) this.keepAll(this.list())
        this.take(";")
        return
      }
      this.statement(this.next())
    }
  }

  private statement(token: string): void {
    switch (token) {
      case ";":
      case "break":
        return
      case "::":
        this.name()
        this.expect("::")
        return
      case "goto":
        this.name()
        return
      case "do":
        this.block()
        this.expect("end")
        return
      case "while":
        this.keep(this.expression())
        this.expect("do")
        this.block()
        this.expect("end")
        return
      case "repeat":
        this.repeat()
        return
      case "if":
        this.branches()
        return
      case "for":
        this.loop()
        return
      case "function":
        this.functionStatement()
        return
      case "local":
        if (this.take("function")) this.localFunction()
        else this.localStatement()
        return
      default:
        this.at--
        this.expressionStatement()
    }
  }

  private repeat(): void {
    const outer = this.scope
    this.scope = new Scope(outer) // the condition sees the body's locals
    this.nest(() => this.statements())
    this.expect("until")
    this.keep(this.expression())
    this.scope = outer
  }

  private branches(): void {
    do {
      this.keep(this.expression())
      this.expect("then")
      this.block()
    } while (this.take("elseif"))
    if (this.take("else")) this.block()
    this.expect("end")
  }

  private loop(): void {
    const names = [this.name()]
    if (this.take("=")) this.keepAll(this.list())
    else {
      while (this.take(",")) names.push(this.name())
      this.expect("in")
      this.keepAll(this.list())
    }
    this.expect("do")
    this.within(names, () => this.block())
    this.expect("end")
  }

  private functionStatement(): void {
    let target: Expression = this.variable(this.name())
    let hasSelf = false
    while (!hasSelf && (this.peek() === "." || this.peek() === ":")) {
      hasSelf = this.next() === ":"
      target = { kind: "index", of: target, key: { kind: "string", text: this.name() } }
    }
    this.assign(target)
    this.defineFunction(target)
    this.functionBody(hasSelf ? ["self"] : [])
  }

  private localFunction(): void {
    this.declare(this.name(), null)
    this.functionBody([])
  }

  private localStatement(): void {
    const names: string[] = []
    do {
      names.push(this.name())
      if (this.take("<")) {
        this.name()
        this.expect(">")
      }
    } while (this.take(","))
    const values = this.take("=") ? this.list() : []
    // What declares a local is looked at where the local is used: a name for something is no use of it yet.
    for (let i = names.length; i < values.length; i++) this.keep(values[i] as Expression)
    for (let i = 0; i < names.length; i++) this.declare(names[i] as string, values[i] ?? null)
  }

  private expressionStatement(): void {
    const first = this.suffixed()
    const isCall = first.kind === "call" || first.kind === "method"
    if (isCall && this.peek() !== "=" && this.peek() !== ",") {
      this.keep(first)
      return
    }
    const targets = [first]
    while (this.take(",")) targets.push(this.suffixed())
    this.expect("=")
    const values = this.list()
    this.keepAll(values)
    for (const [i, target] of targets.entries()) {
      this.assign(target)
      if (values[i] === functionValue) this.defineFunction(target)
    }
  }

  private defineFunction(target: Expression): void {
    if (this.enclosing === 0 && target.kind === "name" && target.local === null) this.functions.add(target.name)
  }

  private assign(target: Expression): void {
    if (target.kind === "name" && target.local !== null) target.local.isAssigned = true
    else this.targets.push(target)
  }

  // ---- expressions

  private list(): Expression[] {
    const list = [this.expression()]
    while (this.take(",")) list.push(this.expression())
    return list
  }

  private expression(limit = 0): Expression {
    return this.nest(() => {
      let left = this.operand()
      for (;;) {
        const operator = this.peek() ?? ""
        const priority = Object.hasOwn(priorities, operator) ? priorities[operator] : undefined
        if (priority === undefined || priority[0] <= limit) return left
        this.at++
        left = { kind: "binary", operator, left, right: this.expression(priority[1]) }
      }
    })
  }

  private operand(): Expression {
    const token = this.peek()
    if (token === "not" || token === "-" || token === "#" || token === "~") {
      this.at++
      return { kind: "other", parts: [this.expression(unaryPriority)] }
    }
    if (token === "nil" || token === "true" || token === "false") {
      this.at++
      return nothing
    }
    if (token === "...") {
      this.at++
      if (this.enclosing === 0) this.usesArguments = true
      return nothing
    }
    if (token === "function") {
      this.at++
      this.functionBody([])
      return functionValue
    }
    if (token === "{") return this.table()
    if (token?.startsWith(stringMark)) return this.string()
    if (token !== undefined && /^\.?\d/.test(token)) return { kind: "number", text: this.next() }
    return this.suffixed()
  }

  private suffixed(): Expression {
    let of: Expression
    if (this.take("(")) {
      of = this.expression()
      this.expect(")")
    } else of = this.variable(this.name())
    for (;;) {
      const token = this.peek()
      if (token === ".") {
        this.at++
        of = { kind: "index", of, key: { kind: "string", text: this.name() } }
      } else if (token === "[") {
        this.at++
        of = { kind: "index", of, key: this.expression() }
        this.expect("]")
      } else if (token === ":") {
        this.at++
        of = { kind: "method", of, name: this.name(), args: this.callArguments() }
      } else if (token === "(" || token === "{" || token?.startsWith(stringMark)) {
        of = { kind: "call", callee: of, args: this.callArguments() }
      } else return of
    }
  }

  private callArguments(): Expression[] {
    if (this.peek() === "{") return [this.table()]
    if (this.peek()?.startsWith(stringMark)) return [this.string()]
    this.expect("(")
    if (this.take(")")) return []
    const list = this.list()
    this.expect(")")
    return list
  }

  private table(): Expression {
    this.expect("{")
    const items: Expression[] = []
    const keys: Expression[] = []
    while (!this.take("}")) {
      if (this.take("[")) {
        keys.push(this.expression())
        this.expect("]")
        this.expect("=")
        keys.push(this.expression())
      } else if (this.tokens[this.at + 1] === "=") {
        keys.push({ kind: "string", text: this.name() })
        this.expect("=")
        keys.push(this.expression())
      } else items.push(this.expression())
      if (!this.take(",") && !this.take(";") && this.peek() !== "}") throw new NoLua()
    }
    return { kind: "table", items, keys }
  }

  private string(): Expression {
    const text = this.next().slice(stringMark.length)
    return { kind: "string", text: text === stringMark ? null : text }
  }

  private functionBody(parameters: string[]): void {
    const names = [...parameters]
    this.expect("(")
    while (!this.take(")")) {
      if (!this.take("...")) names.push(this.name())
      if (!this.take(",") && this.peek() !== ")") throw new NoLua()
    }
    this.enclosing++
    this.within(names, () => this.block())
    this.enclosing--
    this.expect("end")
  }

  // ---- names and tokens

  private variable(name: string): Expression {
    return { kind: "name", name, local: this.scope.find(name) }
  }

  private declare(name: string, value: Expression | null): void {
    const local = { name, value, isAssigned: false }
    this.locals.push(local)
    this.scope.locals.set(name, local)
  }

  private within(names: readonly string[], body: () => void): void {
    const outer = this.scope
    this.scope = new Scope(outer)
    for (const name of names) this.declare(name, null)
    body()
    this.scope = outer
  }

  private nest<A>(body: () => A): A {
    if (++this.depth > depthMax) throw new NoLua()
    const result = body()
    this.depth--
    return result
  }

  private keep(expression: Expression): void {
    this.expressions.push(expression)
  }

  private keepAll(list: readonly Expression[]): void {
    for (const each of list) this.keep(each)
  }

  private peek(): string | undefined {
    return this.tokens[this.at]
  }

  private next(): string {
    const token = this.tokens[this.at++]
    if (token === undefined) throw new NoLua()
    return token
  }

  private take(token: string): boolean {
    if (this.tokens[this.at] !== token) return false
    this.at++
    return true
  }

  private expect(token: string): void {
    if (!this.take(token)) throw new NoLua()
  }

  private name(): string {
    const token = this.next()
    if (!isName(token)) throw new NoLua()
    return token
  }
}

/** The locals of a block, within those of the blocks around it. */
class Scope {
  readonly locals = new Map<string, Local>()

  constructor(private readonly outer: Scope | null) {}

  find(name: string): Local | null {
    for (let scope: Scope | null = this; scope !== null; scope = scope.outer) {
      const local = scope.locals.get(name)
      if (local !== undefined) return local
    }
    return null
  }
}

const nothing: Expression = { kind: "other", parts: [] }
const functionValue: Expression = { kind: "other", parts: [] }
