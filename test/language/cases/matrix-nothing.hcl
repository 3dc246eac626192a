# run: succeeded
# rules: 3 s23
# axis: succeeded "no instances: there is nothing to run it for"
# axes: succeeded "no instances: there is nothing to run it for"
# c: succeeded
# log c: 0 0
pipeline "matrix_nothing" {
  workspace {
    exclude = ["**"]
  }
  variable "systems" {
    type    = list(string)
    default = []
  }
  module "axis" {
    matrix  = { os = var.systems, arch = ["amd64", "arm64"] }
    command = ["echo", matrix.os]
  }
  module "axes" {
    matrix  = {}
    command = ["true"]
  }
  module "c" {
    command = ["echo", "${length(module.axis)} ${length(module.axes)}"]
  }
}
