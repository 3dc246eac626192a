# run: succeeded
# rules: notify
# kill
# a: succeeded
# hooks[after]: succeeded
# notify[team,start]: succeeded
# notify[team]: succeeded
# notify[broken]: failed "exit code 3"
# notify[failures]: skipped "the run before it had not failed"
# log notify[team,start]: start running A-1 top
# log notify[team]: success succeeded A-1 top
# log notify[team]: "status": "succeeded"
pipeline "notify_command" {
  workspace {
    exclude = ["**"]
  }
  variable "what" {
    default = "A"
  }
  env = { TOP = "top" }
  hooks {
    after = "true"
  }
  module "a" {
    command = ["true"]
  }
  notify "team" {
    on     = ["start", "failure", "success"]
    env    = { WHAT = "${var.what}-1", ID = run.id }
    script = <<-SH
      echo "$PIPELINED_EVENT $PIPELINED_STATUS $WHAT $TOP"
      test "$ID" = "$PIPELINED_RUN_ID"
      sed 's/^ *//; s/,$//' "$PIPELINED_NOTICE"
    SH
  }
  notify "broken" {
    on      = ["success"]
    command = ["sh", "-c", "exit 3"]
  }
  notify "failures" {
    command = ["true"]
  }
}
