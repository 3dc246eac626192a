# Converted from a DAG of Dagu by pipelined convert; yours to change.
# Each module starts in a directory of its own: what one leaves for another is in its outputs.
# not converted (line 3): the zone of schedule: it was that of Dagu's machine, and is UTC unless timezone says another
# not converted (line 24): handlerOn.cancel: hooks have before, on_success, on_failure and after, each a script
# not converted (line 26): mailOn: a notify block tells a webhook, or a command, of failures
# not converted (line 67): further DAGs of the file: convert each in a file of its own

pipeline "nightly-etl" {
  description  = "Load a day"
  max_parallel = 2
  timeout      = "3600s"
  on_failure   = "continue"
  env = {
    DAY   = var.day
    LIMIT = var.limit
    MODE  = "full"
    OUT   = "full/out"
  }

  variable "day" {
    type    = string
    default = "today"
  }

  variable "limit" {
    type    = number
    default = 10
  }

  schedule {
    cron = "0 2 * * *"
  }

  concurrency {
    group = "nightly-etl"
  }

  requirement "precondition 1" {
    command = ["sh", "-c", "test \"`echo 1`\" = 1"]
    message = "the precondition does not hold: `echo 1`"
  }

  hooks {
    on_failure = "echo failed"
    after      = "echo over"
  }

  module "extract-rows" {
    timeout = "0"
    shell   = "bash"
    script  = <<-SH
      {
      sh -c 'echo "$DAY 42"'
      } | tee "$TMPDIR/output"
      printf 'ROW<<PIPELINED_END\n%s\nPIPELINED_END\n' "$(cat "$TMPDIR/output")" >> "$PIPELINED_OUTPUT"
    SH

    retry {
      attempts    = 4
      backoff     = "5s"
      max_backoff = "5s"
    }
  }

  module "load" {
    depends_on     = [module.extract-rows]
    ignore_failure = true
    env            = { ROW = module.extract-rows.result.ROW }
    timeout        = "60s"
    script         = <<-SH
      set +u
      export STAMP="`date +%Y`"
      echo "loading $${ROW} $${STAMP} $${UNSET}"
    SH
  }

  module "only-full" {
    depends_on = [module.load]
    run_if     = "not_failed"
    when       = "full" == "full"
    timeout    = "0"
    script     = <<-SH
      #!/usr/bin/env python3
      print("all")
    SH
  }

  module "publish" {
    depends_on = [module.only-full]
    timeout    = "0"
    script     = <<-SH
      echo "version=v$${DAY}" >> "$PIPELINED_OUTPUT"
    SH
  }

  module "use" {
    # not converted (line 56): directory /srv/data: it is that of one machine: requires.tags can name it
    depends_on = [module.publish]
    timeout    = "0"
    script     = <<-SH
      cd "/srv/data"
      exec >> "result.txt"
      echo ${module.publish.result.version}
    SH
  }

  module "call" {
    # not converted (line 60): executor http: call curl in a script
    depends_on = [module.use]
    when       = false
    command    = ["true"]
  }

  module "sub" {
    # not converted (line 64): run: convert that DAG too, and write pipeline = "ITS.hcl" and variables = { … } in place of command
    depends_on = [module.use]
    when       = false
    command    = ["true"]
  }
}
