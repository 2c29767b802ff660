/**
 * A queue whose members can leave it from anywhere in O(1), as a run does that is interrupted. They carry the links
 * themselves, so a member is in one line at most, and nothing is allocated to stand in it.
 */
export interface Linked<T extends Linked<T>> {
  /** The line that it stands in. */
  line: Line<T> | null
  next: T | null
  previous: T | null
}

export class Line<T extends Linked<T>> {
  size = 0
  private first: T | null = null
  private last: T | null = null

  /** A member of another line is a defect. */
  push(member: T): void {
    if (member.line !== null) throw new Error("it stands in a line already")
    member.line = this
    member.previous = this.last
    if (this.last === null) this.first = member
    else this.last.next = member
    this.last = member
    this.size++
  }

  /** The first of them. */
  peek(): T | null {
    return this.first
  }

  shift(): T | null {
    const { first } = this
    if (first !== null) this.remove(first)
    return first
  }

  /** Does nothing for one that stands elsewhere. */
  remove(member: T): void {
    if (member.line !== this) return
    if (member.previous === null) this.first = member.next
    else member.previous.next = member.next
    if (member.next === null) this.last = member.previous
    else member.next.previous = member.previous
    member.line = null
    member.next = null
    member.previous = null
    this.size--
  }
}
