/**
 * Bytes that several keyspaces hold together. Each of them has its own limit; the sum may be more than there is room
 * for, so it is counted here, and whoever shares the room out is told when it has passed a mark.
 */
export class BytePool {
  bytes = 0

  constructor(
    /** `onAlarm` is called by each write that leaves more than this. It is to be moved by whoever is told. */
    public alarmBytes: number = Number.POSITIVE_INFINITY,
    /** May not change entries, but tell keyspaces to `shrinkTo`. */
    readonly onAlarm: () => void = () => {}
  ) {}
}
