# run: succeeded
# rules: 2
# kill
# a[1]: succeeded
# a[2]: succeeded
# a[3]: succeeded
# b[1]: succeeded
# b[2]: succeeded
# b[3]: succeeded
# c: succeeded
pipeline "layers" {
  workspace {
    exclude = ["**"]
  }
  module "a" {
    matrix  = { n = [1, 2, 3] }
    command = ["sleep", "0.3"]
  }
  module "b" {
    depends_on = [module.a]
    matrix     = { n = [1, 2, 3] }
    command    = ["sleep", "0.3"]
  }
  module "c" {
    depends_on = [module.b]
    command    = ["true"]
  }
}
