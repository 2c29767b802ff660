/**
 * Every metric of Mimosa: its name, kind and meaning. The room that counts supplies the reader.
 *
 * Names follow Prometheus: base units (seconds, bytes) and `_total` for what only grows. A name is a promise to
 * dashboards; changing one is a breaking change.
 */
import type { Metric } from "./MetricRegistry.ts"

const counter = (name: string, help: string): Metric<"counter"> => ({ name, help, type: "counter" })
const gauge = (name: string, help: string): Metric<"gauge"> => ({ name, help, type: "gauge" })
const histogram = (name: string, help: string): Metric<"histogram"> => ({ name, help, type: "histogram" })

export const metric = {
  buildInfo: gauge("mimosa_build_info", "Always 1; its label is the version that runs."),
  startTime: gauge("mimosa_start_time_seconds", "When it started, in seconds since the epoch."),

  keyspaceHits: counter("mimosa_keyspace_hits_total", "Reads that found their key."),
  keyspaceMisses: counter("mimosa_keyspace_misses_total", "Reads that did not find their key."),
  keyspaceWrites: counter("mimosa_keyspace_writes_total", "Entries created or overwritten."),
  keyspaceRefused: counter("mimosa_keyspace_refused_total", "Writes refused because the entry was over the limit."),
  keyspaceRejected: counter("mimosa_keyspace_rejected_total", "Writes and deletes refused by BEFORE triggers."),
  keyspaceRemovals: counter("mimosa_keyspace_removals_total", "Entries removed, by cause."),
  keyspaceSinkErrors: counter("mimosa_keyspace_sink_errors_total", "Times that what reacts to events has thrown."),
  keyspaceFlushes: counter("mimosa_keyspace_flushes_total", "Times that a whole keyspace was emptied."),
  keyspaceEntries: gauge("mimosa_keyspace_entries", "Entries held."),
  keyspaceBytes: gauge("mimosa_keyspace_bytes", "Bytes of keys, values and metadata held."),

  eventLogOverwritten: counter(
    "mimosa_event_log_overwritten_total",
    "Events that newer ones pushed out of the bounded event log."
  ),
  messagesPublished: counter("mimosa_messages_published_total", "Messages published to channels."),
  messagesDelivered: counter("mimosa_messages_delivered_total", "Times that a message was handed to a subscriber."),
  messagesFailed: counter("mimosa_messages_failed_total", "Times that a subscriber has thrown at a message."),

  fills: counter("mimosa_fills_total", "Misses that were filled, by where from."),
  fillFailures: counter("mimosa_fill_failures_total", "Questions and loads that failed or took too long, by where."),
  fillsNotStored: counter(
    "mimosa_fills_not_stored_total",
    "Values that were answered and not kept: their key was changed meanwhile, or no copies may be kept."
  ),
  fillsRefused: counter(
    "mimosa_fills_refused_total",
    "Callers that were turned away because too much was being filled."
  ),
  fillsRunning: gauge("mimosa_fills_running", "Keys that are being filled."),
  fillWaiters: gauge("mimosa_fill_waiters", "Callers that wait for a fill."),
  warms: counter("mimosa_warms_total", "Keys that were to be loaded anew, by outcome."),

  triggersRegistered: gauge("mimosa_triggers", "Triggers registered."),
  triggersQuarantined: gauge("mimosa_triggers_quarantined", "Triggers that were taken out because they failed."),
  triggerRuns: counter("mimosa_trigger_runs_total", "Trigger runs that ended, by outcome."),
  triggerSkips: counter("mimosa_trigger_skips_total", "Trigger runs that did not happen, by reason."),
  triggerShadowRuns: counter("mimosa_trigger_shadow_runs_total", "Runs of shadows, whose effects are dropped."),
  triggerRejects: counter("mimosa_trigger_rejects_total", "Runs of BEFORE triggers that refused what they were asked."),
  triggerEffectsRefused: counter(
    "mimosa_trigger_effects_refused_total",
    "What triggers wanted to send and nobody took, by kind."
  ),
  triggerWebhooksSuppressed: counter(
    "mimosa_trigger_webhooks_suppressed_total",
    "Webhooks that were left to the instance on which their event happened first."
  ),
  triggerLogOverwritten: counter(
    "mimosa_trigger_log_overwritten_total",
    "Records of failures and skips that newer ones pushed out of TRIGGER LOG."
  ),
  logLines: counter("mimosa_log_lines_total", "Lines that triggers logged."),
  logLimits: counter("mimosa_log_limits_total", "Bounds of the log streams that were met, by what was done about it."),
  sandboxKills: counter("mimosa_sandbox_kills_total", "Lua machines ended at their hard limit."),

  scriptRuns: counter("mimosa_script_runs_total", "Runs of tenants' scripts that ended, by outcome."),
  scriptsRefused: counter("mimosa_scripts_refused_total", "Runs and states that were not let in, by the limit."),
  scriptFuel: counter("mimosa_script_fuel_total", "Units of fuel that scripts were charged; 250 are a microsecond."),
  scriptSteps: counter("mimosa_script_steps_total", "Steps in which scripts had the thread."),
  scriptsHeld: counter("mimosa_scripts_held_total", "Times that a tenant's runs were held until it had fuel again."),
  scriptDefects: counter("mimosa_script_defects_total", "Runs that ended because a function of the host has failed."),
  scriptsUnderWay: gauge("mimosa_scripts", "Runs under way: all, those that wait for the thread, and for an answer."),
  scriptStates: gauge("mimosa_script_states", "Worlds of scripts that are kept between runs."),
  scriptMachines: gauge("mimosa_script_machines", "Lua machines for scripts."),
  scriptImages: gauge("mimosa_script_images", "Worlds of scripts that wait outside of a machine."),
  scriptImageBytes: gauge("mimosa_script_image_bytes", "Bytes of the worlds that wait outside of a machine."),
  scriptSwaps: counter("mimosa_script_swaps_total", "Worlds that were put back into a machine."),
  scriptKills: counter("mimosa_script_kills_total", "Steps that could only be ended by throwing the world away."),
  scriptLogBytes: gauge("mimosa_script_log_bytes", "Bytes of the lines that all tenants' script logs hold."),
  scriptRequests: counter("mimosa_script_requests_total", "Requests of scripts to other hosts, by outcome."),
  scriptRequestsUnderWay: gauge("mimosa_script_requests", "Requests of scripts to other hosts that are under way."),
  tenants: gauge("mimosa_tenants", "Tenants, those that a program opened by their prefix among them."),
  tenantBytes: gauge("mimosa_tenant_bytes", "Bytes of keys, values and metadata that all tenants hold."),
  tenantReclaims: counter(
    "mimosa_tenant_reclaims_total",
    "Times that the largest tenants had to shrink because all of them together were at their limit."
  ),
  scriptsStored: gauge("mimosa_scripts_stored", "Scripts that tenants have stored under a name."),

  journalDropped: counter(
    "mimosa_journal_lines_dropped_total",
    "Log lines pushed out by newer ones before they were written."
  ),

  residentMemory: gauge("process_resident_memory_bytes", "Memory of the whole program."),
  processes: gauge("mimosa_processes", "Processes alive."),
  processZombies: gauge("mimosa_process_zombies", "Processes killed whose fibers cannot be interrupted yet."),
  processesSpawned: counter("mimosa_processes_spawned_total", "Processes started."),
  processesEnded: counter(
    "mimosa_processes_ended_total",
    "Processes ended, by reason; failure and defect are crashes."
  ),
  processRestarts: counter("mimosa_process_restarts_total", "Processes started again by their supervisors."),
  supervisorEscalations: counter(
    "mimosa_supervisor_escalations_total",
    "Supervisors that gave up because of too many restarts."
  ),
  callTimeouts: counter("mimosa_call_timeouts_total", "Calls between processes that got no answer in time."),
  mailboxLosses: counter("mimosa_mailbox_losses_total", "Messages that found no room in a mailbox, by its policy."),

  webhooksOffered: counter("mimosa_webhooks_offered_total", "Webhooks taken into the outbox."),
  webhooksDelivered: counter("mimosa_webhooks_delivered_total", "Webhooks answered with a 2xx status."),
  webhooksRetried: counter("mimosa_webhooks_retried_total", "Failed attempts after which another was scheduled."),
  webhooksDead: counter(
    "mimosa_webhooks_dead_total",
    "Webhooks given up, by cause; egress is what the policy refused."
  ),
  webhooksOverflow: counter("mimosa_webhooks_overflow_total", "Webhooks lost because the outbox was full."),
  webhooksRecovered: counter("mimosa_webhooks_recovered_total", "Webhooks sent anew because their dispatcher crashed."),
  webhooksPending: gauge("mimosa_webhooks_pending", "Webhooks in the outbox: waiting, due, or in flight."),
  webhooksPendingBytes: gauge("mimosa_webhooks_pending_bytes", "Bytes of the webhooks in the outbox."),
  webhooksInFlight: gauge("mimosa_webhooks_in_flight", "Webhooks that are being sent."),
  webhookAttempt: histogram("mimosa_webhook_attempt_seconds", "Seconds from the start of an attempt to its outcome."),

  clientsConnected: gauge("mimosa_clients", "Clients connected."),
  connectionsAccepted: counter("mimosa_connections_total", "Client connections accepted."),
  connectionsRefused: counter(
    "mimosa_connections_refused_total",
    "Client connections refused at the limit of clients."
  ),
  clientsCut: counter(
    "mimosa_clients_cut_total",
    "Client connections that the server ended, by the bound that they met, or their command's crash."
  ),
  clientPauses: counter(
    "mimosa_client_pauses_total",
    "Times that reading from a client stopped because it did not take its replies."
  ),
  commands: counter("mimosa_commands_total", "Commands answered."),
  commandErrors: counter("mimosa_command_errors_total", "Commands answered with an error."),

  coherenceMembers: gauge(
    "mimosa_coherence_members",
    "Other instances of the namespace, by whether they are heard of."
  ),
  coherenceCoherent: gauge(
    "mimosa_coherence_coherent",
    "1 while all others are heard of and nothing is missing, else 0."
  ),
  coherenceDegraded: counter("mimosa_coherence_degraded_seconds_total", "Time in which it was not coherent."),
  coherenceWritten: counter(
    "mimosa_coherence_records_written_total",
    "Records of what was written or invalidated here."
  ),
  coherenceMissing: gauge("mimosa_coherence_records_missing", "Records of others that are known of and not here."),
  coherenceBackups: gauge("mimosa_coherence_backups", "Expiries of other instances that are told here if these end."),
  coherencePropagation: histogram(
    "mimosa_coherence_propagation_seconds",
    "Time until a write was known to be applied by all that live; one write in a second is timed."
  ),
  coherenceEvents: counter("mimosa_coherence_events_total", "What the protocol has met, by event."),
  coherenceLinks: gauge("mimosa_coherence_links", "Peers that are linked."),
  coherenceFrames: counter("mimosa_coherence_frames_total", "Frames that were sent and received, by direction."),
  coherenceBytes: counter("mimosa_coherence_bytes_total", "Bytes of frames, by direction."),
  coherenceFramesLost: counter("mimosa_coherence_frames_lost_total", "Frames that were not sent, by reason."),
  coherenceLinksLost: counter("mimosa_coherence_links_lost_total", "Links that ended, by reason."),
  coherenceRefused: counter(
    "mimosa_coherence_refused_total",
    "Connections, datagrams and frames of others that were refused, by reason."
  )
} as const
