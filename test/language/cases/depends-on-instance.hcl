# run: failed
# rules: 2 s23
# build[linux]: succeeded
# build[darwin]: failed "exit code 3"
# pack: succeeded
# log pack: linux
# both: skipped "build[darwin] failed"
# wished: succeeded
pipeline "depends-on-instance" {
  on_failure = "continue"
  module "build" {
    matrix  = { os = ["linux", "darwin"] }
    script  = "echo ${matrix.os} > out; test ${matrix.os} = linux || exit 3"
    outputs = ["out"]
  }
  module "pack" {
    depends_on = [module.build["linux"]]
    script     = "cat out"
  }
  module "both" {
    depends_on = ["build[linux]", module.build]
    layout     = "by-module"
    command    = ["true"]
  }
  module "wished" {
    optional_depends_on = ["build[linux]"]
    command             = ["true"]
  }
}
