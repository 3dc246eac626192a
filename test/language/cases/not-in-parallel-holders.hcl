# run: succeeded
# rules: 2 s29
# kill
# two[1]: succeeded
# two[2]: succeeded
# two[3]: succeeded
# two[4]: succeeded
# one: succeeded
# late: succeeded
pipeline "not_in_parallel_holders" {
  workspace {
    exclude = ["**"]
  }
  variable "holders" {
    type    = number
    default = 2
  }
  module "two" {
    matrix          = { n = [1, 2, 3, 4] }
    not_in_parallel = { "case-${pipeline.name}" = var.holders, other = 4 }
    command         = ["sleep", "0.2"]
  }
  module "one" {
    not_in_parallel = ["other"]
    command         = ["sleep", "0.1"]
  }
  module "late" {
    depends_on      = [module.one]
    not_in_parallel = { other = 1 }
    command         = ["true"]
  }
}
