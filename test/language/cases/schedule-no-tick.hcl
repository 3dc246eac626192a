# run: succeeded
# rules: runs
# kill
# day: succeeded
# log day: 2026-01-01 none
# announce: skipped "run.tick != null"
# late: succeeded
# log late: no tick
pipeline "schedule-no-tick" {
  workspace {
    exclude = ["**"]
  }
  module "day" {
    script = "echo ${formatdate("YYYY-MM-DD", coalesce(run.tick, "2026-01-01T00:00:00Z"))} $${PIPELINED_TICK:-none}"
  }
  module "announce" {
    when    = run.tick != null
    command = ["echo", "a run of the schedule"]
  }
  module "late" {
    command = ["echo", run.number > 0 && run.tick == null ? "no tick" : "a tick"]
  }
}
