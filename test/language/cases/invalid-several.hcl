# run: invalid
# rules: 10
# error: invalid-several.hcl:11:19: unknown module "b2"
# error: invalid-several.hcl:12:5: unknown attribute "comand"
# error: invalid-several.hcl:16:19: timeout: duration "10" has no unit
# error: did you mean "command"?
# error: 3 mistakes
pipeline "invalid_several" {
  module "a" {
    command    = ["true"]
    depends_on = [module.b2]
    comand     = ["x"]
  }
  module "b" {
    command = ["true"]
    timeout     = "10"
  }
}
