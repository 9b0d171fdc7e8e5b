# The tasks, what they may see of the network, and how many of them there are.

mock_provider "aws" {
  source = "./tests/mocks"
}

variables {
  name               = "tg"
  region             = "eu-central-1"
  image              = "111122223333.dkr.ecr.eu-central-1.amazonaws.com/tidegauge:1.2.3"
  cpu_architecture   = "ARM64"
  container_insights = false
  role_arns = {
    execution = "arn:aws:iam::111122223333:role/tg-execution"
    service   = "arn:aws:iam::111122223333:role/tg-service"
    worker    = "arn:aws:iam::111122223333:role/tg-worker"
  }
  log_groups                  = { service = "/tg/service", worker = "/tg/worker" }
  log_level                   = "info"
  vpc_id                      = "vpc-1"
  subnet_ids                  = ["subnet-1", "subnet-2"]
  endpoints_security_group_id = "sg-endpoints"
  s3_prefix_list_id           = "pl-s3"
  client_cidrs                = ["10.0.0.0/16", "10.1.0.0/16"]
  namespace                   = "tg.internal"
  secrets = {
    service_tokens = "arn:aws:secretsmanager:eu-central-1:111122223333:secret:service-tokens"
    worker_tokens  = "arn:aws:secretsmanager:eu-central-1:111122223333:secret:worker-tokens"
    worker_token   = "arn:aws:secretsmanager:eu-central-1:111122223333:secret:worker-token"
  }
  state_location            = "s3://tg-state/state/"
  results_location          = "s3://tg-results/results/"
  job_files                 = ["/etc/tidegauge/jobs/flows.yaml"]
  environment               = { FLOWS = "s3://tg-telemetry/flows/" }
  otlp                      = null
  service_size              = { cpu = 2048, memory = 8192 }
  worker_size               = { cpu = 4096, memory = 16384 }
  ephemeral_storage_gib     = 30
  worker_count              = 3
  worker_count_max          = 3
  worker_cpu_percent_target = 60
  workers_on_spot           = false
}

run "containers_can_do_little" {
  command = apply

  module {
    source = "./modules/compute"
  }

  assert {
    condition = alltrue([
      for definition in [aws_ecs_task_definition.service, aws_ecs_task_definition.worker] : alltrue([
        for container in jsondecode(definition.container_definitions) :
        container.readonlyRootFilesystem
        && container.user == "65532:65532"
        && container.linuxParameters.capabilities.drop == ["ALL"]
        && container.mountPoints == [{ sourceVolume = "tmp", containerPath = "/tmp", readOnly = false }]
      ])
    ])
    error_message = "No root, no capabilities, nothing to write to but /tmp."
  }

  assert {
    condition = alltrue([
      for definition in [aws_ecs_task_definition.service, aws_ecs_task_definition.worker] :
      definition.network_mode == "awsvpc"
      && definition.runtime_platform[0].cpu_architecture == "ARM64"
      && definition.execution_role_arn == var.role_arns["execution"]
    ])
    error_message = "Tasks run on Fargate, on the image's architecture."
  }

  assert {
    condition = (
      aws_ecs_task_definition.service.task_role_arn == var.role_arns["service"]
      && aws_ecs_task_definition.worker.task_role_arn == var.role_arns["worker"]
    )
    error_message = "Each kind of task has its own role."
  }
}

run "the_command_lines_fit_each_other" {
  command = apply

  module {
    source = "./modules/compute"
  }

  assert {
    condition = jsondecode(aws_ecs_task_definition.service.container_definitions)[0].command == [
      "serve",
      "--flight", "0.0.0.0:50051",
      "--http", "0.0.0.0:8080",
      "--workers", "dns:workers.tg.internal:50052",
      "--submitted", "s3://tg-state/state/submitted/",
      "/etc/tidegauge/jobs/flows.yaml",
    ]
    error_message = "The service opens both doors, finds workers by name, and keeps submitted jobs."
  }

  assert {
    condition     = jsondecode(aws_ecs_task_definition.worker.container_definitions)[0].command == ["worker", "--listen", "0.0.0.0:50052"]
    error_message = "A worker listens where the service looks for it."
  }

  assert {
    condition = (
      aws_service_discovery_private_dns_namespace.this.name == "tg.internal"
      && aws_service_discovery_service.this["workers"].name == "workers"
      && aws_service_discovery_service.this["workers"].dns_config[0].routing_policy == "MULTIVALUE"
      && aws_service_discovery_service.this["workers"].dns_config[0].dns_records[0].type == "A"
    )
    error_message = "workers.tg.internal has an A record for each worker."
  }

  assert {
    condition = { for variable in jsondecode(aws_ecs_task_definition.service.container_definitions)[0].environment :
      variable.name => variable.value
      } == {
      AWS_REGION = "eu-central-1"
      FLOWS      = "s3://tg-telemetry/flows/"
      OUT        = "s3://tg-results/results"
      RUST_LOG   = "info"
      STATE      = "s3://tg-state/state/"
    }
    error_message = "Job files find their locations in the environment."
  }
}

run "secrets_are_named_and_never_written_out" {
  command = apply

  module {
    source = "./modules/compute"
  }

  assert {
    condition = { for secret in jsondecode(aws_ecs_task_definition.service.container_definitions)[0].secrets :
      secret.name => secret.valueFrom
      } == {
      TIDEGAUGE_TOKENS       = "arn:aws:secretsmanager:eu-central-1:111122223333:secret:service-tokens"
      TIDEGAUGE_WORKER_TOKEN = "arn:aws:secretsmanager:eu-central-1:111122223333:secret:worker-token"
    }
    error_message = "The service takes its token file, and the token that it shows to workers."
  }

  assert {
    condition = jsondecode(aws_ecs_task_definition.worker.container_definitions)[0].secrets == [{
      name      = "TIDEGAUGE_TOKENS"
      valueFrom = "arn:aws:secretsmanager:eu-central-1:111122223333:secret:worker-tokens"
    }]
    error_message = "A worker knows hashes alone."
  }

}

run "a_health_check_runs_what_the_image_has" {
  command = apply

  module {
    source = "./modules/compute"
  }

  assert {
    condition = jsondecode(aws_ecs_task_definition.service.container_definitions)[0].healthCheck.command == [
      "CMD", "/usr/local/bin/tidegauge", "health", "--to", "http://127.0.0.1:8080",
    ]
    error_message = "No shell and no curl: the program asks its own door."
  }
}

run "one_coordinator_at_a_time" {
  command = apply

  module {
    source = "./modules/compute"
  }

  assert {
    condition = (
      aws_ecs_service.service.desired_count == 1
      && aws_ecs_service.service.deployment_minimum_healthy_percent == 0
      && aws_ecs_service.service.deployment_maximum_percent == 100
    )
    error_message = "The old coordinator stops before the new one starts."
  }
}

run "nothing_comes_in_but_from_the_listed_networks" {
  command = apply

  module {
    source = "./modules/compute"
  }

  assert {
    condition = toset([
      for rule in aws_vpc_security_group_ingress_rule.doors : "${rule.cidr_ipv4} ${rule.from_port}-${rule.to_port}"
      ]) == toset([
      "10.0.0.0/16 50051-50051", "10.0.0.0/16 8080-8080", "10.1.0.0/16 50051-50051", "10.1.0.0/16 8080-8080",
    ])
    error_message = "Clients of the listed networks reach both doors, and no other port."
  }

  assert {
    condition = (
      aws_vpc_security_group_ingress_rule.workers.security_group_id == aws_security_group.workers.id
      && aws_vpc_security_group_ingress_rule.workers.referenced_security_group_id == aws_security_group.service.id
      && aws_vpc_security_group_ingress_rule.workers.from_port == 50052
      && aws_vpc_security_group_ingress_rule.workers.to_port == 50052
    )
    error_message = "Only the service reaches workers."
  }

  assert {
    condition = alltrue([
      for service in concat([aws_ecs_service.service], aws_ecs_service.workers) :
      !service.network_configuration[0].assign_public_ip
    ])
    error_message = "No task has a public address."
  }
}

run "descriptions_are_in_letters_that_ec2_takes" {
  command = apply

  module {
    source = "./modules/compute"
  }

  variables {
    otlp = { endpoint = "http://collector.corp:4317", port = 4317, cidr_blocks = ["10.9.0.0/24"] }
  }

  assert {
    condition = alltrue([
      for description in concat(
        [aws_security_group.service.description, aws_security_group.workers.description],
        [aws_vpc_security_group_ingress_rule.workers.description, aws_vpc_security_group_egress_rule.workers.description],
        [for rule in aws_vpc_security_group_ingress_rule.doors : rule.description],
        [for rule in aws_vpc_security_group_ingress_rule.endpoints : rule.description],
        [for rule in aws_vpc_security_group_egress_rule.s3 : rule.description],
        [for rule in aws_vpc_security_group_egress_rule.endpoints : rule.description],
        [for rule in aws_vpc_security_group_egress_rule.collectors : rule.description],
      ) : can(regex("^[0-9A-Za-z_ .:/()#,@\\[\\]+=&;{}!$*-]{1,255}$", description))
    ])
    error_message = "EC2 refuses other characters, an apostrophe among them, and only when it is applied."
  }
}

run "no_clients_no_doors" {
  command = apply

  module {
    source = "./modules/compute"
  }

  variables {
    client_cidrs = []
  }

  assert {
    condition     = length(aws_vpc_security_group_ingress_rule.doors) == 0
    error_message = "Without networks of clients nothing comes in."
  }
}

run "traces_go_to_the_collector_alone" {
  command = apply

  module {
    source = "./modules/compute"
  }

  variables {
    otlp = { endpoint = "http://collector.corp:4317", port = 4317, cidr_blocks = ["10.9.0.0/24"] }
  }

  assert {
    condition = toset([
      for rule in aws_vpc_security_group_egress_rule.collectors : "${rule.cidr_ipv4} ${rule.from_port}-${rule.to_port}"
    ]) == toset(["10.9.0.0/24 4317-4317"]) && length(aws_vpc_security_group_egress_rule.collectors) == 2
    error_message = "Both kinds of task reach the collector."
  }

  assert {
    condition = alltrue([
      for definition in [aws_ecs_task_definition.service, aws_ecs_task_definition.worker] : anytrue([
        for variable in jsondecode(definition.container_definitions)[0].environment :
        variable.name == "OTEL_EXPORTER_OTLP_ENDPOINT" && variable.value == "http://collector.corp:4317"
      ])
    ])
    error_message = "Both kinds of task know its address."
  }
}

run "workers_are_as_many_as_asked" {
  command = apply

  module {
    source = "./modules/compute"
  }

  assert {
    condition = (
      length(aws_ecs_service.workers) == 1
      && aws_ecs_service.workers[0].desired_count == 3
      && one(aws_ecs_service.workers[0].capacity_provider_strategy).capacity_provider == "FARGATE"
      && length(aws_appautoscaling_target.workers) == 0
      && length(aws_ecs_service.scaled_workers) == 0
    )
    error_message = "Three workers, and no autoscaling."
  }
}

run "workers_scale_between_bounds" {
  command = apply

  module {
    source = "./modules/compute"
  }

  variables {
    worker_count_max = 6
    workers_on_spot  = true
  }

  assert {
    condition = (
      length(aws_ecs_service.workers) == 0
      && one(aws_ecs_service.scaled_workers[0].capacity_provider_strategy).capacity_provider == "FARGATE_SPOT"
      && aws_appautoscaling_target.workers[0].min_capacity == 3
      && aws_appautoscaling_target.workers[0].max_capacity == 6
      && aws_appautoscaling_policy.workers[0].target_tracking_scaling_policy_configuration[0].target_value == 60
    )
    error_message = "From three to six workers on spare capacity."
  }
}
