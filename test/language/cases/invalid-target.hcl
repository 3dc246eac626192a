# run: invalid
# rules: 9
# flags: -target buld
# error: -target: unknown module "buld"
# error: did you mean "build"?
pipeline "invalid_target" {
  module "build" {
    command = ["true"]
  }
}
