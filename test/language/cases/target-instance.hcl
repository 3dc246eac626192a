# run: succeeded
# rules: 9
# flags: -target a[x]
# a[x]: succeeded
pipeline "target_instance" {
  workspace {
    exclude = ["**"]
  }
  module "a" {
    matrix = { k = ["x", "y"] }
    script = "test ${matrix.k} = x"
  }
}
