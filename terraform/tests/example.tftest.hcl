# The example is applied whole, with what it makes handed to the module.

mock_provider "aws" {
  source = "./tests/mocks"
}

run "the_example_stands" {
  command = apply

  module {
    source = "./examples/complete"
  }

  variables {
    image_tag = "1.2.3"
  }

  assert {
    condition     = toset(keys(output.secret_arns)) == toset(["service_tokens", "worker_tokens", "worker_token"])
    error_message = "There is a place for each token."
  }

  assert {
    condition     = output.tidegauge.flight_address == "grpc://service.tidegauge.internal:50051"
    error_message = "The module's outputs are passed on."
  }
}
