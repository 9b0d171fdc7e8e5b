# The modules together, and what is said of values that cannot work.

mock_provider "aws" {
  source = "./tests/mocks"
}

variables {
  image = "111122223333.dkr.ecr.eu-central-1.amazonaws.com/tidegauge:1.2.3"
  secrets = {
    service_tokens = "arn:aws:secretsmanager:eu-central-1:111122223333:secret:tidegauge/service_tokens-AbCdEf"
    worker_tokens  = "arn:aws:secretsmanager:eu-central-1:111122223333:secret:tidegauge/worker_tokens-AbCdEf"
    worker_token   = "arn:aws:secretsmanager:eu-central-1:111122223333:secret:tidegauge/worker_token-AbCdEf"
  }
}

run "an_image_and_secrets_are_enough" {
  command = apply

  assert {
    condition     = output.flight_address == "grpc://service.tidegauge.internal:50051" && output.http_address == "http://service.tidegauge.internal:8080"
    error_message = "The doors have names."
  }

  assert {
    condition     = length(output.subnet_ids) == 2 && toset(keys(output.role_arns)) == toset(["execution", "service", "worker"])
    error_message = "Two zones, three roles."
  }

  assert {
    condition = alltrue([
      for purpose in ["telemetry", "state", "results"] : endswith(output.locations[purpose], "/${purpose}/") && startswith(output.locations[purpose], "s3://")
    ])
    error_message = "Job files are told where to read and write."
  }
}

run "bucket_names_hold_account_and_region" {
  command = plan

  assert {
    condition     = local.buckets["state"].name == "tidegauge-state-111122223333-eu-central-1"
    error_message = "Bucket names are the world's."
  }
}

run "an_image_from_elsewhere_is_refused" {
  command = plan
  variables {
    image = "ghcr.io/example/tidegauge:1.2.3"
  }
  expect_failures = [var.image]
}

run "an_image_without_a_tag_is_refused" {
  command = plan
  variables {
    image = "111122223333.dkr.ecr.eu-central-1.amazonaws.com/tidegauge"
  }
  expect_failures = [var.image]
}

run "latest_is_refused" {
  command = plan
  variables {
    image = "111122223333.dkr.ecr.eu-central-1.amazonaws.com/tidegauge:latest"
  }
  expect_failures = [var.image]
}

run "a_secret_itself_is_refused" {
  command = plan
  variables {
    secrets = {
      service_tokens = "arn:aws:secretsmanager:eu-central-1:111122223333:secret:a"
      worker_tokens  = "arn:aws:secretsmanager:eu-central-1:111122223333:secret:b"
      worker_token   = "tg_0123456789abcdef"
    }
  }
  expect_failures = [var.secrets]
}

run "a_name_that_makes_no_bucket_is_refused" {
  command = plan
  variables {
    name = "Tide_Gauge"
  }
  expect_failures = [var.name]
}

run "the_internet_is_no_client" {
  command = plan
  variables {
    client_cidrs = ["10.0.0.0/16", "0.0.0.0/0"]
  }
  expect_failures = [var.client_cidrs]
}

run "half_the_internet_is_no_client" {
  command = plan
  variables {
    client_cidrs = ["0.0.0.0/1", "128.0.0.0/1"]
  }
  expect_failures = [var.client_cidrs]
}

run "a_network_of_one_address_is_refused" {
  command = plan
  variables {
    vpc_cidr = "10.64.0.0/28"
  }
  expect_failures = [var.vpc_cidr]
}

run "no_zone_is_refused" {
  command = plan
  variables {
    zone_count = 0
  }
  expect_failures = [var.zone_count]
}

run "a_namespace_is_a_domain" {
  command = plan
  variables {
    namespace = "tidegauge"
  }
  expect_failures = [var.namespace]
}

run "a_retention_that_cloudwatch_has_not_is_refused" {
  command = plan
  variables {
    log_retention_days = 31
  }
  expect_failures = [var.log_retention_days]
}

run "a_collector_needs_its_networks" {
  command = plan
  variables {
    otlp = { endpoint = "http://collector.corp:4317", cidr_blocks = [] }
  }
  expect_failures = [var.otlp]
}

run "a_prefix_ends_with_a_slash" {
  command = plan
  variables {
    telemetry_prefix = "flows"
  }
  expect_failures = [var.telemetry_prefix]
}

run "a_prefix_holds_no_pattern" {
  command = plan
  variables {
    telemetry_prefix = "flows*/"
  }
  expect_failures = [var.telemetry_prefix]
}

run "versions_stay_a_day_at_least" {
  command = plan
  variables {
    noncurrent_days = 0
  }
  expect_failures = [var.noncurrent_days]
}

run "telemetry_stays_whole_days" {
  command = plan
  variables {
    telemetry_retention_days = 0.5
  }
  expect_failures = [var.telemetry_retention_days]
}

run "an_alias_is_no_key" {
  command = plan
  variables {
    kms_key_arn = "arn:aws:kms:eu-central-1:111122223333:alias/buckets"
  }
  expect_failures = [var.kms_key_arn]
}

run "memory_fits_cpu" {
  command = plan
  variables {
    service_size = { cpu = 1024, memory = 16384 }
    worker_size  = { cpu = 8192, memory = 17408 }
  }
  expect_failures = [var.service_size, var.worker_size]
}

run "dns_names_eight_workers" {
  command = plan
  variables {
    worker_count = 9
  }
  expect_failures = [var.worker_count]
}

run "the_most_is_not_below_the_least" {
  command = plan
  variables {
    worker_count     = 4
    worker_count_max = 3
  }
  expect_failures = [var.worker_count_max]
}

run "job_files_are_in_the_image" {
  command = plan
  variables {
    job_files = ["jobs/flows.yaml"]
  }
  expect_failures = [var.job_files]
}

run "tokens_are_no_environment" {
  command = plan
  variables {
    environment = { TIDEGAUGE_TOKENS = "anna sha256:00" }
  }
  expect_failures = [var.environment]
}
