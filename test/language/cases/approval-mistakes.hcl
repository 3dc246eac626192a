# run: invalid
# rules: 10 approval
# error: waits for an approval and runs nothing: script has no meaning in it
# error: approval without message
pipeline "approval-mistakes" {
  module "gate" {
    script = "true"
    approval {
      timeout = "1h"
    }
  }
}
