# run: failed
# rules: notify
# a: failed
# b: skipped "a failed"
# c: failed
# hooks[on_failure]: succeeded
# notify[team]: succeeded
# notify[successes]: skipped "it does not notify of failures"
# log notify[team]: failure failed
# log notify[team]: "reason": "a failed"
# log notify[team]: "module": "a"
# log notify[team]: "exitCode": 4
# log notify[team]: "line 12 of a <&>"
pipeline "notify_failed" {
  workspace {
    exclude = ["**"]
  }
  hooks {
    on_failure = "true"
  }
  module "a" {
    script = <<-SH
      for i in 1 2 3 4 5 6 7 8 9 10 11; do echo "line $i of a"; done
      printf 'line 12 of \033[31ma\033[0m <&>\n'
      exit 4
    SH
  }
  module "b" {
    depends_on = [module.a]
    command    = ["true"]
  }
  module "c" {
    depends_on     = [module.a]
    always_run     = true
    ignore_failure = true
    command        = ["false"]
  }
  notify "team" {
    script = <<-SH
      echo "$PIPELINED_EVENT $PIPELINED_STATUS"
      sed 's/^ *//; s/,$//' "$PIPELINED_NOTICE"
      ! grep -q 'line 2 of a' "$PIPELINED_NOTICE"
      ! grep -q '"module": "[bc]"' "$PIPELINED_NOTICE"
    SH
  }
  notify "successes" {
    on      = ["success"]
    command = ["true"]
  }
}
