;; What must not cross into JavaScript: allocation, one event's call, calls into the host, coroutine switches.
;;
;; The shim shares memory and function table with Lua. It keeps its own state in cells at the arena's start (0xC00000),
;; above all that the C heap may reach: the host reads and writes them through typed arrays, which costs a nanosecond,
;; where a WebAssembly.Global costs thirty. src/sandbox/internal/layout.ts names the same addresses; a test compares.
;;
;;   +0    used       bytes that Lua holds            +4    cap        what `used` may not pass
;;   +8    denied     1: an allocation was refused    +12   heapEnd    where the C library keeps its heap's end
;;   +16   marks      1: a global was made            +20   length     out: length of the last string read
;;   +24   pointer    in: what the host answers       +28   bytes      in: … its length
;;   +32   number     in: … as f64                    +40   depth      coroutines in the chain that runs
;;   +44   fuel       out: what a run left            +48   line       out: where the hook struck, or it stands
;;   +52   total      what `used` never passes        +56   base       `used` when the script began
;;   +60   cursor     where the compiler has read to  +64   bound      … and may read to
;;   +68   mode       what the hook does: 0 raises, 1 pauses, 2 takes itself away
;;   +72   paused     1: a script is suspended by the hook, 2: by a call that waits; its coroutines make way
;;   +76   answer     in: what the call that waits answers
;;   +80   emergency  where Lua keeps whether it may collect when it is refused memory
;;   +84   count      in: how many values stand ready  +88   entry      in: where on the main stack what gets them stands
;;   +92   results    out: of lua_resume
;;   +128  chain      the coroutines, innermost last (240)
;;   +2048 debug      a lua_Debug                     +3072 words      constant C strings
;;   +4096 fields     32 descriptors of 16 bytes      +8192 bytes of fields, results and sources, to the end of memory
(module
  (import "glue" "memory" (memory 0))
  (import "glue" "__indirect_function_table" (table 0 funcref))
  (import "glue" "fuel" (global $fuel (mut i32)))
  (import "glue" "realloc" (func $realloc (param i32 i32) (result i32)))
  (import "glue" "free" (func $free (param i32)))
  (import "glue" "lua_gettop" (func $gettop (param i32) (result i32)))
  (import "glue" "lua_settop" (func $settop (param i32 i32)))
  (import "glue" "lua_checkstack" (func $checkstack (param i32 i32) (result i32)))
  (import "glue" "lua_type" (func $type (param i32 i32) (result i32)))
  (import "glue" "lua_tolstring" (func $tolstring (param i32 i32 i32) (result i32)))
  (import "glue" "lua_tothread" (func $tothread (param i32 i32) (result i32)))
  (import "glue" "lua_tocfunction" (func $tocfunction (param i32 i32) (result i32)))
  (import "glue" "lua_getupvalue" (func $getupvalue (param i32 i32 i32) (result i32)))
  (import "glue" "lua_pushvalue" (func $pushvalue (param i32 i32)))
  (import "glue" "lua_pushnil" (func $pushnil (param i32)))
  (import "glue" "lua_pushlightuserdata" (func $pushlightuserdata (param i32 i32)))
  (import "glue" "lua_pushboolean" (func $pushboolean (param i32 i32)))
  (import "glue" "lua_pushnumber" (func $pushnumber (param i32 f64)))
  (import "glue" "lua_pushinteger" (func $pushinteger (param i32 i64)))
  (import "glue" "lua_pushlstring" (func $pushlstring (param i32 i32 i32) (result i32)))
  (import "glue" "lua_pushcclosure" (func $pushcclosure (param i32 i32 i32)))
  (import "glue" "lua_createtable" (func $createtable (param i32 i32 i32)))
  (import "glue" "lua_rawgeti" (func $rawgeti (param i32 i32 i64) (result i32)))
  (import "glue" "lua_rawset" (func $rawset (param i32 i32)))
  (import "glue" "lua_rawseti" (func $rawseti (param i32 i32 i64)))
  (import "glue" "lua_concat" (func $concat (param i32 i32)))
  (import "glue" "lua_pcallk" (func $pcallk (param i32 i32 i32 i32 i32 i32) (result i32)))
  (import "glue" "lua_error" (func $error (param i32) (result i32)))
  (import "glue" "lua_sethook" (func $sethook (param i32 i32 i32 i32)))
  (import "glue" "lua_getstack" (func $getstack (param i32 i32 i32) (result i32)))
  (import "glue" "lua_getinfo" (func $getinfo (param i32 i32 i32) (result i32)))
  (import "glue" "luaL_where" (func $where (param i32 i32)))
  (import "glue" "lua_toboolean" (func $toboolean (param i32 i32) (result i32)))
  (import "glue" "lua_rotate" (func $rotate (param i32 i32 i32)))
  (import "glue" "lua_rawget" (func $rawget (param i32 i32) (result i32)))
  (import "glue" "lua_xmove" (func $xmove (param i32 i32 i32)))
  (import "glue" "lua_callk" (func $callk (param i32 i32 i32 i32 i32)))
  (import "glue" "lua_status" (func $status (param i32) (result i32)))
  (import "glue" "lua_resume" (func $continue (param i32 i32 i32 i32) (result i32)))
  (import "glue" "lua_yieldk" (func $yieldk (param i32 i32 i32 i32) (result i32)))
  (import "glue" "lua_isyieldable" (func $isyieldable (param i32) (result i32)))
  (import "glue" "lua_resetthread" (func $resetthread (param i32 i32) (result i32)))
  ;; (L, function, argument count, bytes and length of the first argument when it is a string) → an answer code
  (import "host" "call" (func $call (param i32 i32 i32 i32 i32) (result i32)))

  (type $cfunction (func (param i32) (result i32)))
  (global $L (mut i32) (i32.const 0))
  (global $tick (mut i32) (i32.const 0))         ;; table index of the hook
  (global $resumed (mut i32) (i32.const 0))      ;; table indices of Lua's own coroutine functions …
  (global $wrapped (mut i32) (i32.const 0))
  (global $closed (mut i32) (i32.const 0))
  (global $stepped (mut i32) (i32.const 0))      ;; … and of its collectgarbage
  (global $unwind (mut i32) (i32.const 0))       ;; table index of what coroutine.wrap returns here
  (global $thread (mut i32) (i32.const 0))       ;; the coroutine that scripts run in
  (global $entered (mut i32) (i32.const 0))      ;; table indices: its function, and what goes on after a pause
  (global $left (mut i32) (i32.const 0))
  (global $resumedAgain (mut i32) (i32.const 0))
  (global $unwoundAgain (mut i32) (i32.const 0))
  (global $answered (mut i32) (i32.const 0))
  (global $timeout (mut i32) (i32.const 0))      ;; registry references of the two words that the hook raises
  (global $memory (mut i32) (i32.const 0))
  (data (i32.const 0xC00C00) "l\00\00\00nSl\00")  ;; what lua_getinfo is asked for: the current line; all for a traceback

  (func (export "setup") (param $state i32) (param $hook i32) (param $resume i32) (param $wrap i32) (param $close i32)
    (param $collect i32) (param $aux i32) (param $timeoutRef i32) (param $memoryRef i32)
    (i32.store (i32.const 0xC00028) (i32.const 1))
    (global.set $L (local.get $state))
    (global.set $tick (local.get $hook))
    (global.set $resumed (local.get $resume))
    (global.set $wrapped (local.get $wrap))
    (global.set $closed (local.get $close))
    (global.set $stepped (local.get $collect))
    (global.set $unwind (local.get $aux))
    (global.set $timeout (local.get $timeoutRef))
    (global.set $memory (local.get $memoryRef))
    (i32.store (i32.const 0xC00080) (local.get $state)))

  ;; For scripts: the chain begins with the coroutine that they run in.
  (func (export "setupScripts") (param $coroutine i32) (param $enter i32) (param $leave i32) (param $resume i32)
    (param $unwind i32) (param $answer i32)
    (global.set $thread (local.get $coroutine))
    (global.set $entered (local.get $enter))
    (global.set $left (local.get $leave))
    (global.set $resumedAgain (local.get $resume))
    (global.set $unwoundAgain (local.get $unwind))
    (global.set $answered (local.get $answer))
    (i32.store (i32.const 0xC00044) (i32.const 2))
    (i32.store (i32.const 0xC00080) (local.get $coroutine)))

  ;; ---- one event ----------------------------------------------------------------------------------------------------

  ;; Runs program $program. Answers Lua's status, plus 256 when an allocation was refused. The stack holds, from its
  ;; bottom: functions, event tables, environments (each an array by program), the word "event", the fields' names.
  ;;
  ;; $mask: the fields to set. $fresh: into a new table, passed as the argument too; else into the program's own, where
  ;; each field of the mask is overwritten. The fields count against the VM's total, not against the run's cap.
  (func (export "fire") (param $program i32) (param $mask i32) (param $fresh i32) (param $fuelMax i32) (param $bytesMax i32)
    (param $results i32) (result i32)
    (local $L i32) (local $slot i32) (local $arguments i32) (local $status i32) (local $cap i32)
    (local.set $L (global.get $L))
    (global.set $fuel (local.get $fuelMax))
    (i32.store (i32.const 0xC00004) (i32.load (i32.const 0xC00034)))
    (i32.store (i32.const 0xC00028) (i32.const 1))
    (drop (call $rawgeti (local.get $L) (i32.const 1) (i64.extend_i32_u (local.get $program))))
    (if (i32.or (local.get $mask) (local.get $fresh)) (then
      (if (local.get $fresh)
        (then (call $createtable (local.get $L) (i32.const 0) (i32.popcnt (local.get $mask))))
        (else (drop (call $rawgeti (local.get $L) (i32.const 2) (i64.extend_i32_u (local.get $program))))))
      (block $set
        (loop $next
          (br_if $set (i32.eqz (local.get $mask)))
          (local.set $slot (i32.ctz (local.get $mask)))
          (local.set $mask (i32.and (local.get $mask) (i32.sub (local.get $mask) (i32.const 1))))
          (call $pushvalue (local.get $L) (i32.add (local.get $slot) (i32.const 5)))
          (call $pushfield (local.get $L) (i32.add (i32.const 0xC01000) (i32.shl (local.get $slot) (i32.const 4))))
          (call $rawset (local.get $L) (i32.const -3))
          (br $next)))
      (if (local.get $fresh)
        (then
          (drop (call $rawgeti (local.get $L) (i32.const 3) (i64.extend_i32_u (local.get $program))))
          (call $pushvalue (local.get $L) (i32.const 4))
          (call $pushvalue (local.get $L) (i32.const -3))
          (call $rawset (local.get $L) (i32.const -3))
          (call $settop (local.get $L) (i32.const -2))
          (local.set $arguments (i32.const 1)))
        (else (call $settop (local.get $L) (i32.const -2))))))
    (i32.store (i32.const 0xC00038) (i32.load (i32.const 0xC00000)))
    (local.set $cap (i32.add (i32.load (i32.const 0xC00000)) (local.get $bytesMax)))
    (if (i32.lt_u (local.get $cap) (i32.load (i32.const 0xC00004)))
      (then (i32.store (i32.const 0xC00004) (local.get $cap))))
    (local.set $status (call $pcallk (local.get $L) (local.get $arguments) (local.get $results)
      (i32.const 0) (i32.const 0) (i32.const 0)))
    (i32.store (i32.const 0xC0002C) (global.get $fuel))
    (i32.or (local.get $status) (i32.shl (i32.load (i32.const 0xC00008)) (i32.const 8))))

  ;; Pushes what a descriptor says: kind, pointer, then a length or a number.
  (func $pushfield (param $L i32) (param $at i32)
    (block $encoded (block $true (block $false (block $integer (block $number (block $string (block $nil
      (br_table $nil $string $number $integer $false $true $encoded (i32.load (local.get $at))))
      (return (call $pushnil (local.get $L))))
      (drop (call $pushlstring (local.get $L) (i32.load offset=4 (local.get $at)) (i32.load offset=8 (local.get $at))))
      (return))
      (return (call $pushnumber (local.get $L) (f64.load offset=8 (local.get $at)))))
      (return (call $pushinteger (local.get $L) (i64.trunc_sat_f64_s (f64.load offset=8 (local.get $at))))))
      (return (call $pushboolean (local.get $L) (i32.const 0))))
      (return (call $pushboolean (local.get $L) (i32.const 1))))
    (call $pushencoded (local.get $L) (i32.load offset=4 (local.get $at))))

  ;; ---- structured values: written by the host as bytes, built here -----------------------------------------------------

  (func $pushencoded (param $L i32) (param $at i32)
    (if (i32.eqz (call $checkstack (local.get $L) (i32.const 80))) (then (drop (call $error (local.get $L)))))
    (drop (call $decode (local.get $L) (local.get $at))))

  ;; Pushes the value at $at and answers the address after it. Tags as in internal/encoding.ts, which bounds the depth.
  (func $decode (param $L i32) (param $at i32) (result i32)
    (local $count i32) (local $index i32) (local $tag i32)
    (global.set $fuel (i32.sub (global.get $fuel) (i32.const 8)))
    (local.set $tag (i32.load8_u (local.get $at)))
    (local.set $at (i32.add (local.get $at) (i32.const 1)))
    (block $map (block $array (block $string (block $integer (block $number (block $true (block $false (block $nil (block $null
      (br_table $nil $false $true $number $integer $string $array $map $null (local.get $tag)))
      (call $pushlightuserdata (local.get $L) (i32.const 0))
      (return (local.get $at)))
      (call $pushnil (local.get $L))
      (return (local.get $at)))
      (call $pushboolean (local.get $L) (i32.const 0))
      (return (local.get $at)))
      (call $pushboolean (local.get $L) (i32.const 1))
      (return (local.get $at)))
      (call $pushnumber (local.get $L) (f64.load align=1 (local.get $at)))
      (return (i32.add (local.get $at) (i32.const 8))))
      (call $pushinteger (local.get $L) (i64.load align=1 (local.get $at)))
      (return (i32.add (local.get $at) (i32.const 8))))
      (local.set $count (i32.load align=1 (local.get $at)))
      (local.set $at (i32.add (local.get $at) (i32.const 4)))
      (drop (call $pushlstring (local.get $L) (local.get $at) (local.get $count)))
      (return (i32.add (local.get $at) (local.get $count))))
      (local.set $count (i32.load align=1 (local.get $at)))
      (local.set $at (i32.add (local.get $at) (i32.const 4)))
      (call $createtable (local.get $L) (local.get $count) (i32.const 0))
      (loop $element
        (if (i32.lt_u (local.get $index) (local.get $count)) (then
          (local.set $at (call $decode (local.get $L) (local.get $at)))
          (local.set $index (i32.add (local.get $index) (i32.const 1)))
          (call $rawseti (local.get $L) (i32.const -2) (i64.extend_i32_u (local.get $index)))
          (br $element))))
      (return (local.get $at)))
    (local.set $count (i32.load align=1 (local.get $at)))
    (local.set $at (i32.add (local.get $at) (i32.const 4)))
    (call $createtable (local.get $L) (i32.const 0) (local.get $count))
    (loop $pair
      (if (i32.lt_u (local.get $index) (local.get $count)) (then
        (local.set $at (call $decode (local.get $L) (local.get $at)))
        (local.set $at (call $decode (local.get $L) (local.get $at)))
        (call $rawset (local.get $L) (i32.const -3))
        (local.set $index (i32.add (local.get $index) (i32.const 1)))
        (br $pair))))
    (local.get $at))

  ;; ---- memory -------------------------------------------------------------------------------------------------------

  ;; lua_Alloc. Once it has refused it refuses every growth until the run is over, and the hook ends the run: what
  ;; a pcall swallows does not make the run a good one.
  (func (export "alloc") (param $ud i32) (param $block i32) (param $old i32) (param $new i32) (result i32)
    (local $more i32) (local $used i32)
    (local.set $used (i32.load (i32.const 0xC00000)))
    (if (i32.eqz (local.get $new)) (then
      (if (local.get $block) (then
        (i32.store (i32.const 0xC00000) (i32.sub (local.get $used) (local.get $old)))
        (call $free (local.get $block))))
      (return (i32.const 0))))
    (local.set $more (select (i32.sub (local.get $new) (local.get $old)) (local.get $new) (local.get $block)))
    (if (i32.gt_s (local.get $more) (i32.const 0)) (then
      (if (i32.or (i32.load (i32.const 0xC00008)) (i32.or
            (i32.gt_u (local.get $more) (i32.sub (i32.load (i32.const 0xC00004)) (local.get $used)))
            ;; The heap may not come near the arena: at worst it grows by the whole block (64 KiB for its own needs).
            (i32.gt_s (local.get $new)
              (i32.sub (i32.const 0xBF0000) (i32.load (i32.load (i32.const 0xC0000C)))))))
        (then
          (call $deny)
          (return (i32.const 0))))))
    (local.set $block (call $realloc (local.get $block) (local.get $new)))
    (if (i32.eqz (local.get $block)) (then
      (call $deny)
      (return (i32.const 0))))
    (i32.store (i32.const 0xC00000) (i32.add (local.get $used) (local.get $more)))
    (local.get $block))

  ;; The collection that Lua would try now is forbidden each time: a collection that is in order allows it again.
  (func $deny
    (i32.store (i32.const 0xC00008) (i32.const 1))
    (if (i32.load (i32.const 0xC00050))
      (then (i32.store8 (i32.load (i32.const 0xC00050)) (i32.const 1))))
    (call $arm))

  ;; After a Lua error was thrown, before it is caught: the stack still stands. (In `alloc` it may be on the move.)
  (func (export "threw") (param $units i32)
    (global.set $fuel (i32.sub (global.get $fuel) (local.get $units)))
    (if (i32.load (i32.const 0xC00008)) (then (call $note (call $innermost)))))

  ;; A bounded step of the collector ($kilobytes 0: its smallest), by Lua's own collectgarbage: lua_gc is not exported.
  (func (export "collect") (param $word i32) (param $kilobytes i32) (result i32)
    (local $status i32)
    (call $pushcclosure (global.get $L) (global.get $stepped) (i32.const 0))
    (drop (call $rawgeti (global.get $L) (i32.const -1001000) (i64.extend_i32_u (local.get $word))))
    (call $pushinteger (global.get $L) (i64.extend_i32_u (local.get $kilobytes)))
    (call $pcallk (global.get $L) (i32.const 2) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0)))

  ;; ---- the soft limit -----------------------------------------------------------------------------------------------

  ;; From now on each Lua instruction raises, in every coroutine of the chain that runs.
  (func $arm (export "arm") (call $hook (i32.const 8)))

  ;; Puts the hook into every coroutine of the chain, or ($mask 0) takes it away.
  (func $hook (param $mask i32)
    (local $index i32)
    (block $done
      (loop $next
        (br_if $done (i32.ge_u (local.get $index) (i32.load (i32.const 0xC00028))))
        (call $sethook
          (i32.load (i32.add (i32.const 0xC00080) (i32.shl (local.get $index) (i32.const 2))))
          (global.get $tick) (local.get $mask) (i32.const 1))
        (local.set $index (i32.add (local.get $index) (i32.const 1)))
        (br $next))))

  ;; The hook. What it raises allocates nothing.
  (func (export "tick") (param $L i32) (param $debug i32)
    (if (i32.and (i32.ne (i32.load (i32.const 0xC00044)) (i32.const 0)) (i32.eqz (i32.load (i32.const 0xC00008)))) (then
      (if (i32.eq (i32.load (i32.const 0xC00044)) (i32.const 2)) (then
        (call $sethook (local.get $L) (global.get $tick) (i32.const 0) (i32.const 1)) ;; left over from an earlier slice
        (return)))
      (if (i32.eqz (call $pausable)) (then (return)))
      (i32.store (i32.const 0xC00044) (i32.const 2))
      (drop (call $pause (local.get $L) (i32.const 1) (i32.const 0)))
      (return)))
    (call $note (local.get $L))
    (drop (call $rawgeti (local.get $L) (i32.const -1001000)
      (i64.extend_i32_u (select (global.get $memory) (global.get $timeout) (i32.load (i32.const 0xC00008))))))
    (drop (call $error (local.get $L))))

  ;; Keeps the line of the first blow.
  (func $note (param $L i32)
    (if (i32.eqz (i32.load (i32.const 0xC00030)))
      (then (i32.store (i32.const 0xC00030) (call $standing (local.get $L))))))

  ;; The line that runs in $L, or in the nearest of the coroutines around it that has one.
  (func $standing (param $L i32) (result i32)
    (local $line i32) (local $index i32)
    (local.set $index (i32.load (i32.const 0xC00028)))
    (local.set $line (call $lineof (local.get $L)))
    (block $found
      (loop $out
        (br_if $found (i32.or (local.get $line) (i32.eqz (local.get $index))))
        (local.set $index (i32.sub (local.get $index) (i32.const 1)))
        (local.set $line (call $lineof
          (i32.load (i32.add (i32.const 0xC00080) (i32.shl (local.get $index) (i32.const 2))))))
        (br $out)))
    (local.get $line))

  ;; The line that runs in $L: of the innermost function that has lines; 0 when there is none.
  (func $lineof (param $L i32) (result i32)
    (local $level i32)
    (loop $up
      (if (i32.lt_u (local.get $level) (i32.const 16)) (then
        (if (i32.eqz (call $getstack (local.get $L) (local.get $level) (i32.const 0xC00800))) (then (return (i32.const 0))))
        (drop (call $getinfo (local.get $L) (i32.const 0xC00C00) (i32.const 0xC00800)))
        (if (i32.gt_s (i32.load (i32.const 0xC00818)) (i32.const 0)) (then (return (i32.load (i32.const 0xC00818)))))
        (local.set $level (i32.add (local.get $level) (i32.const 1)))
        (br $up))))
    (i32.const 0))

  ;; The innermost coroutine of the chain.
  (func $innermost (result i32)
    (i32.load (i32.add (i32.const 0xC0007C) (i32.shl (i32.load (i32.const 0xC00028)) (i32.const 2)))))

  ;; Like the hook's, for the host that is about to kill.
  (func (export "note") (call $note (call $innermost)))

  ;; ---- coroutines: hooks belong to one each, so the chain that runs must be known --------------------------------------

  ;; Puts $thread behind $from, which runs; drops what errors have left above. Answers the depth to return to.
  (func $enter (param $from i32) (param $thread i32) (result i32)
    (local $depth i32)
    (local.set $depth (i32.load (i32.const 0xC00028)))
    (block $found
      (loop $down
        (br_if $found (i32.le_u (local.get $depth) (i32.const 1)))
        (br_if $found (i32.eq (local.get $from)
          (i32.load (i32.add (i32.const 0xC0007C) (i32.shl (local.get $depth) (i32.const 2))))))
        (local.set $depth (i32.sub (local.get $depth) (i32.const 1)))
        (br $down)))
    ;; Lua refuses to nest 200 coroutines; the bound keeps a mistake there out of the cells that follow.
    (if (i32.and (i32.ne (local.get $thread) (i32.const 0)) (i32.lt_u (local.get $depth) (i32.const 240))) (then
      (i32.store (i32.add (i32.const 0xC00080) (i32.shl (local.get $depth) (i32.const 2))) (local.get $thread))
      (i32.store (i32.const 0xC00028) (i32.add (local.get $depth) (i32.const 1)))))
    (local.get $depth))

  (func $within (param $L i32) (param $thread i32) (param $function i32) (result i32)
    (local $depth i32) (local $results i32)
    (local.set $depth (call $enter (local.get $L) (local.get $thread)))
    (local.set $results (call_indirect (type $cfunction) (local.get $L) (local.get $function)))
    (i32.store (i32.const 0xC00028) (local.get $depth))
    (local.get $results))

  ;; coroutine.resume: Lua's own, which leaves its coroutine below what it answers. When that has made way for a pause,
  ;; the one that runs it makes way too, without an answer, and resumes it once more when it is resumed itself.
  (func $coresume (param $L i32) (result i32)
    (local $results i32)
    (local.set $results (call $within (local.get $L) (call $tothread (local.get $L) (i32.const 1)) (global.get $resumed)))
    (if (i32.load (i32.const 0xC00048)) (then
      (call $settop (local.get $L) (i32.const 1))
      (return (call $yieldk (local.get $L) (i32.const 0) (i32.const 0) (global.get $resumedAgain)))))
    (local.get $results))

  (func (export "resume") (param $L i32) (result i32) (call $coresume (local.get $L)))
  (func (export "resumeAgain") (param $L i32) (param $status i32) (param $context i32) (result i32)
    (call $coresume (local.get $L)))

  (func (export "close") (param $L i32) (result i32)
    (call $within (local.get $L) (call $tothread (local.get $L) (i32.const 1)) (global.get $closed)))

  ;; coroutine.wrap: the closure that Lua makes, with our function in its place.
  (func (export "wrap") (param $L i32) (result i32)
    (drop (call_indirect (type $cfunction) (local.get $L) (global.get $wrapped)))
    (drop (call $getupvalue (local.get $L) (i32.const -1) (i32.const 1)))
    (call $pushcclosure (local.get $L) (global.get $unwind) (i32.const 1))
    (i32.const 1))

  ;; What it returns: lcorolib.c, auxwrap, by way of coroutine.resume.
  (func $counwind (param $L i32) (result i32)
    (local $results i32) (local $thread i32) (local $status i32) (local $depth i32)
    (local.set $thread (call $tothread (local.get $L) (i32.const -1001001)))
    (call $pushvalue (local.get $L) (i32.const -1001001))
    (call $rotate (local.get $L) (i32.const 1) (i32.const 1))
    (local.set $results (call $within (local.get $L) (local.get $thread) (global.get $resumed)))
    (if (i32.load (i32.const 0xC00048)) (then
      (call $settop (local.get $L) (i32.const 0))
      (return (call $yieldk (local.get $L) (i32.const 0) (i32.const 0) (global.get $unwoundAgain)))))
    (if (call $toboolean (local.get $L) (i32.sub (i32.const 0) (local.get $results)))
      (then (return (i32.sub (local.get $results) (i32.const 1)))))
    (local.set $status (call $status (local.get $thread)))
    (if (i32.gt_u (local.get $status) (i32.const 1)) (then ;; it died, and did not just refuse: its variables are closed
      (local.set $depth (call $enter (local.get $L) (local.get $thread)))
      (local.set $status (call $resetthread (local.get $thread) (local.get $L)))
      (i32.store (i32.const 0xC00028) (local.get $depth))
      (call $xmove (local.get $thread) (local.get $L) (i32.const 1))))
    (if (i32.and (i32.ne (local.get $status) (i32.const 4))
          (i32.eq (call $type (local.get $L) (i32.const -1)) (i32.const 4))) (then
      (call $where (local.get $L) (i32.const 1))
      (call $rotate (local.get $L) (i32.const -2) (i32.const 1))
      (call $concat (local.get $L) (i32.const 2))))
    (call $error (local.get $L)))

  (func (export "unwind") (param $L i32) (result i32) (call $counwind (local.get $L)))
  (func (export "unwindAgain") (param $L i32) (param $status i32) (param $context i32) (result i32)
    (call $counwind (local.get $L)))

  ;; ---- scripts: one coroutine, resumed by the host until it ends --------------------------------------------------------

  ;; Whether all that runs can be suspended: nothing of it inside a C function that would lose its place.
  (func $pausable (export "pausable") (result i32)
    (local $index i32)
    (loop $next
      (if (i32.eqz (call $isyieldable
            (i32.load (i32.add (i32.const 0xC00080) (i32.shl (local.get $index) (i32.const 2))))))
        (then (return (i32.const 0))))
      (local.set $index (i32.add (local.get $index) (i32.const 1)))
      (br_if $next (i32.lt_u (local.get $index) (i32.load (i32.const 0xC00028)))))
    (i32.const 1))

  (func $pause (param $L i32) (param $why i32) (param $continuation i32) (result i32)
    (i32.store (i32.const 0xC00048) (local.get $why))
    (i32.store (i32.const 0xC00030) (call $standing (local.get $L)))
    (call $hook (i32.const 0))
    (call $yieldk (local.get $L) (i32.const 0) (i32.const 0) (local.get $continuation)))

  ;; Begins the script ($isFirst) or goes on with it. Answers Lua's status, plus 256 when an allocation was refused.
  (func (export "go") (param $isFirst i32) (result i32)
    (local $status i32)
    (if (local.get $isFirst) (then (call $pushcclosure (global.get $thread) (global.get $entered) (i32.const 0))))
    (local.set $status (call $continue (global.get $thread) (global.get $L) (i32.const 0) (i32.const 0xC0005C)))
    (i32.store (i32.const 0xC0002C) (global.get $fuel))
    (i32.or (local.get $status) (i32.shl (i32.load (i32.const 0xC00008)) (i32.const 8))))

  ;; The coroutine's function: builds the values that stand ready in the arena and calls what takes them, which is the
  ;; function of the environment that the first one names, or (`entry`) what stands on the main stack there.
  (func (export "enter") (param $L i32) (result i32)
    (local $at i32) (local $left i32) (local $arguments i32)
    (local.set $left (i32.load (i32.const 0xC00054)))
    (if (i32.eqz (call $checkstack (local.get $L) (i32.add (local.get $left) (i32.const 80))))
      (then (drop (call $error (local.get $L)))))
    (local.set $at (i32.load (i32.const 0xC00018)))
    (if (i32.load (i32.const 0xC00058))
      (then
        (call $fetch (local.get $L) (i32.load (i32.const 0xC00058)))
        (call $fetch (local.get $L) (i32.const 3)) ;; its first argument: the script's chunk
        (local.set $arguments (i32.const 1)))
      (else
        (call $fetch (local.get $L) (i32.const 2))
        (local.set $at (call $decode (local.get $L) (local.get $at)))
        (local.set $left (i32.sub (local.get $left) (i32.const 1)))
        (if (i32.ne (call $rawget (local.get $L) (i32.const -2)) (i32.const 6)) (then
          (call $fetch (local.get $L) (i32.const 5))
          (drop (call $decode (local.get $L) (i32.load (i32.const 0xC00018))))
          (call $callk (local.get $L) (i32.const 1) (i32.const 0) (i32.const 0) (i32.const 0))))))
    (loop $next
      (if (local.get $left) (then
        (local.set $at (call $decode (local.get $L) (local.get $at)))
        (local.set $left (i32.sub (local.get $left) (i32.const 1)))
        (local.set $arguments (i32.add (local.get $arguments) (i32.const 1)))
        (br $next))))
    (call $callk (local.get $L) (local.get $arguments) (i32.const 1) (i32.const 0) (global.get $left))
    (i32.const 1))

  (func (export "leave") (param $L i32) (param $status i32) (param $context i32) (result i32) (i32.const 1))

  ;; What stands on the main stack, onto $L's.
  (func $fetch (param $L i32) (param $place i32)
    (call $pushvalue (global.get $L) (local.get $place))
    (call $xmove (global.get $L) (local.get $L) (i32.const 1)))

  ;; A call that waited goes on.
  (func (export "answered") (param $L i32) (param $status i32) (param $context i32) (result i32)
    (call $answer (local.get $L) (i32.load (i32.const 0xC0004C))))

  ;; ---- globals ------------------------------------------------------------------------------------------------------

  ;; __newindex of each environment: a program has made a global, so that a rewind would be seen by it.
  (func (export "mark") (param $L i32) (result i32)
    (i32.store (i32.const 0xC00010) (i32.or (i32.load (i32.const 0xC00010)) (i32.const 1)))
    (call $settop (local.get $L) (i32.const 3))
    (call $rawset (local.get $L) (i32.const 1))
    (i32.const 0))

  ;; ---- fuel ---------------------------------------------------------------------------------------------------------

  ;; Sets what is left, and answers what was: below zero where more was spent than there was.
  (func (export "refuel") (param $units i32) (result i32)
    (global.get $fuel)
    (global.set $fuel (local.get $units)))

  ;; Takes fuel for work of the host, and answers what is left: below zero where that is more than there was.
  (func (export "charge") (param $units i32) (result i32)
    (global.set $fuel (i32.sub (global.get $fuel) (local.get $units)))
    (global.get $fuel))

  ;; ---- compiling ----------------------------------------------------------------------------------------------------

  ;; lua_Reader that gives one byte at a time, so that the cursor tells where the compiler stopped.
  (func (export "read") (param $L i32) (param $ud i32) (param $size i32) (result i32)
    (local $at i32)
    (local.set $at (i32.load (i32.const 0xC0003C)))
    (if (i32.ge_u (local.get $at) (i32.load (i32.const 0xC00040))) (then
      (i32.store (local.get $size) (i32.const 0))
      (return (i32.const 0))))
    (i32.store (i32.const 0xC0003C) (i32.add (local.get $at) (i32.const 1)))
    (i32.store (local.get $size) (i32.const 1))
    (local.get $at))

  ;; i64 does not cross into JavaScript without a BigInt; the host's own numbers fit 32 bits.
  (func (export "rawgeti") (param $L i32) (param $table i32) (param $index i32) (result i32)
    (call $rawgeti (local.get $L) (local.get $table) (i64.extend_i32_s (local.get $index))))
  (func (export "rawseti") (param $L i32) (param $table i32) (param $index i32)
    (call $rawseti (local.get $L) (local.get $table) (i64.extend_i32_s (local.get $index))))

  ;; ---- calls into the host --------------------------------------------------------------------------------------------

  ;; The answer: below 16 that many results stand on the stack, else one result, or an error to raise.
  (func $host (param $L i32) (param $id i32) (result i32)
    (local $count i32) (local $bytes i32) (local $length i32)
    (local.set $count (call $gettop (local.get $L)))
    (global.set $fuel (i32.sub (global.get $fuel) (i32.const 64))) ;; the host's time is the run's time
    (if (local.get $count) (then
      (if (i32.eq (call $type (local.get $L) (i32.const 1)) (i32.const 4)) (then
        (local.set $bytes (call $tolstring (local.get $L) (i32.const 1) (i32.const 0xC00014)))
        (local.set $length (i32.load (i32.const 0xC00014)))))))
    (call $answer (local.get $L)
      (call $call (local.get $L) (local.get $id) (local.get $count) (local.get $bytes) (local.get $length))))

  (func $answer (param $L i32) (param $answer i32) (result i32)
    (if (i32.lt_u (local.get $answer) (i32.const 16)) (then (return (local.get $answer))))
    (block $wait (block $fail (block $encoded (block $number (block $integer (block $false (block $true (block $nil (block $string
      (br_table $string $nil $true $false $integer $number $encoded $fail $wait (i32.sub (local.get $answer) (i32.const 16))))
      (drop (call $pushlstring (local.get $L) (i32.load (i32.const 0xC00018)) (i32.load (i32.const 0xC0001C))))
      (return (i32.const 1)))
      (call $pushnil (local.get $L))
      (return (i32.const 1)))
      (call $pushboolean (local.get $L) (i32.const 1))
      (return (i32.const 1)))
      (call $pushboolean (local.get $L) (i32.const 0))
      (return (i32.const 1)))
      (call $pushinteger (local.get $L) (i64.trunc_sat_f64_s (f64.load (i32.const 0xC00020))))
      (return (i32.const 1)))
      (call $pushnumber (local.get $L) (f64.load (i32.const 0xC00020)))
      (return (i32.const 1)))
      (call $pushencoded (local.get $L) (i32.load (i32.const 0xC00018)))
      (return (i32.const 1)))
    (call $where (local.get $L) (i32.const 1))
    (drop (call $pushlstring (local.get $L) (i32.load (i32.const 0xC00018)) (i32.load (i32.const 0xC0001C))))
    (call $concat (local.get $L) (i32.const 2))
    (return (call $error (local.get $L))))
    (call $pause (local.get $L) (i32.const 2) (global.get $answered)))

  ;; One entry a host function, so that none needs to look up which it is.
  (func (export "host0") (param $L i32) (result i32) (call $host (local.get $L) (i32.const 0)))
  (func (export "host1") (param $L i32) (result i32) (call $host (local.get $L) (i32.const 1)))
  (func (export "host2") (param $L i32) (result i32) (call $host (local.get $L) (i32.const 2)))
  (func (export "host3") (param $L i32) (result i32) (call $host (local.get $L) (i32.const 3)))
  (func (export "host4") (param $L i32) (result i32) (call $host (local.get $L) (i32.const 4)))
  (func (export "host5") (param $L i32) (result i32) (call $host (local.get $L) (i32.const 5)))
  (func (export "host6") (param $L i32) (result i32) (call $host (local.get $L) (i32.const 6)))
  (func (export "host7") (param $L i32) (result i32) (call $host (local.get $L) (i32.const 7)))
  (func (export "host8") (param $L i32) (result i32) (call $host (local.get $L) (i32.const 8)))
  (func (export "host9") (param $L i32) (result i32) (call $host (local.get $L) (i32.const 9)))
  (func (export "host10") (param $L i32) (result i32) (call $host (local.get $L) (i32.const 10)))
  (func (export "host11") (param $L i32) (result i32) (call $host (local.get $L) (i32.const 11)))
  (func (export "host12") (param $L i32) (result i32) (call $host (local.get $L) (i32.const 12)))
  (func (export "host13") (param $L i32) (result i32) (call $host (local.get $L) (i32.const 13)))
  (func (export "host14") (param $L i32) (result i32) (call $host (local.get $L) (i32.const 14)))
  (func (export "host15") (param $L i32) (result i32) (call $host (local.get $L) (i32.const 15)))
  (func (export "host16") (param $L i32) (result i32) (call $host (local.get $L) (i32.const 16)))
  (func (export "host17") (param $L i32) (result i32) (call $host (local.get $L) (i32.const 17)))
  (func (export "host18") (param $L i32) (result i32) (call $host (local.get $L) (i32.const 18)))
  (func (export "host19") (param $L i32) (result i32) (call $host (local.get $L) (i32.const 19)))
  (func (export "host20") (param $L i32) (result i32) (call $host (local.get $L) (i32.const 20)))
  (func (export "host21") (param $L i32) (result i32) (call $host (local.get $L) (i32.const 21)))
  (func (export "host22") (param $L i32) (result i32) (call $host (local.get $L) (i32.const 22)))
  (func (export "host23") (param $L i32) (result i32) (call $host (local.get $L) (i32.const 23)))
  (func (export "host24") (param $L i32) (result i32) (call $host (local.get $L) (i32.const 24)))
  (func (export "host25") (param $L i32) (result i32) (call $host (local.get $L) (i32.const 25)))
  (func (export "host26") (param $L i32) (result i32) (call $host (local.get $L) (i32.const 26)))
  (func (export "host27") (param $L i32) (result i32) (call $host (local.get $L) (i32.const 27)))
  (func (export "host28") (param $L i32) (result i32) (call $host (local.get $L) (i32.const 28)))
  (func (export "host29") (param $L i32) (result i32) (call $host (local.get $L) (i32.const 29)))
  (func (export "host30") (param $L i32) (result i32) (call $host (local.get $L) (i32.const 30)))
  (func (export "host31") (param $L i32) (result i32) (call $host (local.get $L) (i32.const 31)))
)
