# run: invalid
# rules: 2 10
# error: module "build" has no instance "windows"
pipeline "depends-on-instance-unknown" {
  module "build" {
    matrix  = { os = ["linux", "darwin"] }
    command = ["echo", matrix.os]
  }
  module "pack" {
    depends_on = [module.build["windows"]]
    command    = ["true"]
  }
}
