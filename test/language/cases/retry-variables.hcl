# run: succeeded
# rules: retry 3 4 s23
# flags: -var tag=bad
# first run: failed
# retry: -var tag=1.1 -var oses=["linux","bsd"]
# kill
# build: cached "result of run"
# log build: building
# test: cached "result of run"
# each[linux]: cached "result of run"
# each[bsd]: succeeded
# all: succeeded
# late: succeeded
# log late: v1 of 1.1
# unit[0]: cached "result of run"
# unit[1]: cached "result of run"
# push: succeeded
# log push: red 1.1
# attempts push: 1
# after: succeeded
# log after: after push
pipeline "retry-variables" {
  on_failure = "continue"
  env_from   = ["CASE_OTHER"]

  variable "tag" {}
  variable "oses" { default = ["linux", "mac"] }
  locals { image = "${module.build.result.v} of ${var.tag}" }

  module "build" {
    outputs = ["color"]
    script  = <<-SH
      echo building
      echo red > color
      echo v=v1 >> $PIPELINED_OUTPUT
      echo units=2 >> $PIPELINED_OUTPUT
    SH
  }
  module "test" {
    depends_on = [module.build]
    script     = "test $CASE_OTHER = x"
  }
  module "each" {
    matrix = { os = var.oses }
    script = "echo ${matrix.os}"
  }
  module "all" {
    depends_on = [module.each]
    script     = "true"
  }
  module "late" {
    script = "echo ${local.image}"
  }
  module "unit" {
    for_each = range(tonumber(module.build.result.units))
    script   = "echo ${each.value}"
  }
  module "push" {
    depends_on = [module.build, module.test]
    env        = { TAG = var.tag }
    script     = <<-SH
      test $TAG != bad
      echo "$(cat color) $TAG"
    SH
  }
  module "after" {
    depends_on = [module.push]
    script     = "echo after push"
  }
}
