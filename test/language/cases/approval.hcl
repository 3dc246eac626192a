# kill
# run: succeeded
# rules: 5 approval
# build: succeeded
# gate: succeeded "looks good"
# attempts gate: 0
# approve gate: looks good
# ship: succeeded
# log ship: true looks good
pipeline "approval" {
  module "build" {
    script = "echo version=1.2 >> $PIPELINED_OUTPUT"
  }
  module "gate" {
    approval {
      message = "Ship ${module.build.result.version}?"
    }
  }
  module "ship" {
    command = ["echo", "${module.gate.result.approved} ${module.gate.result.comment}"]
  }
}
