# run: failed
# rules: 7 4
# kill
# first: succeeded
# second: succeeded
# third: failed "exit code 3"
# log first: before run-time-7
# log first: [pipelined: ::add-mask:: masks nothing: a value has 6 bytes at least]
# log first: now *** and ***
# log first: hook ***
# log second: got *** and run-time-7
# log third: ***
pipeline "add_mask" {
  on_failure = "continue"
  workspace {
    exclude = ["**"]
  }
  module "first" {
    env    = { VALUE = "run-time-7" }
    script = <<-SH
      echo "before $VALUE"
      echo "::add-mask::$VALUE"
      echo "::add-mask::abc" >&2
      echo "now $VALUE and $(printf %s "$VALUE" | od -An -tx1 | tr -d ' \n')"
      echo "value=$VALUE" >> "$PIPELINED_OUTPUT"
    SH
    hooks {
      after = "echo hook $VALUE"
    }
  }
  module "second" {
    env    = { VALUE = "run-time-7" }
    script = "echo got ${module.first.result.value} and $VALUE"
  }
  module "third" {
    script = "echo '::add-mask::not-shown'; printf 'not-'; printf 'shown'; exit 3"
  }
}
