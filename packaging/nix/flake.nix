# pxed for Nix, and a service for NixOS:
#
#     nix build '.?dir=packaging/nix'
#
# Untried with Nix. Checked: the syntax, by `nix-instantiate --parse`. nixpkgs must have the Rust that Cargo.toml names.
{
  description = "eBPF/XDP-accelerated network boot responder";

  inputs.nixpkgs.url = "nixpkgs/nixos-unstable";

  outputs = { self, nixpkgs }:
    let
      systems = [ "x86_64-linux" "aarch64-linux" ];
      package = { lib, rustPlatform, installShellFiles }:
        rustPlatform.buildRustPackage {
          pname = "pxed";
          version = "0.1.0";
          src = ../..;
          cargoLock.lockFile = ../../Cargo.lock;
          buildType = "dist";
          cargoBuildFlags = [ "--package" "pxed" ];
          # The tests need namespaces, root and firmware: `cargo xtask test` runs them.
          doCheck = false;
          nativeBuildInputs = [ installShellFiles ];
          postInstall = ''
            $out/bin/pxed man man
            installManPage man/*.1
            installShellCompletion --cmd pxed \
              --bash <($out/bin/pxed completions bash) \
              --zsh <($out/bin/pxed completions zsh) \
              --fish <($out/bin/pxed completions fish)
            install -Dm644 docs/pxed.schema.json -t $out/share/pxed
            install -Dm644 packaging/pxed.service packaging/pxed@.service -t $out/lib/systemd/system
            substituteInPlace $out/lib/systemd/system/pxed.service $out/lib/systemd/system/pxed@.service \
              --replace-fail /usr/bin/pxed $out/bin/pxed \
              --replace-fail /usr/share/doc $out/share/doc
            install -Dm644 README.md CHANGELOG.md LICENSE-* -t $out/share/doc/pxed
            cp -r docs monitoring $out/share/doc/pxed
          '';
          meta = {
            description = "eBPF/XDP-accelerated network boot responder";
            license = with lib.licenses; [ mit asl20 ];
            mainProgram = "pxed";
            platforms = lib.platforms.linux;
          };
        };
    in
    {
      packages = nixpkgs.lib.genAttrs systems (system: {
        default = nixpkgs.legacyPackages.${system}.callPackage package { };
      });

      # services.pxed = { enable = true; settings = { interfaces = [ "eth0" ]; state = "/var/lib/pxed"; }; };
      nixosModules.default = { config, lib, pkgs, ... }:
        let
          cfg = config.services.pxed;
          file = (pkgs.formats.toml { }).generate "pxed.toml" cfg.settings;
        in
        {
          options.services.pxed = {
            enable = lib.mkEnableOption "pxed, network boot beside the network's DHCP server";
            package = lib.mkOption {
              type = lib.types.package;
              default = self.packages.${pkgs.stdenv.hostPlatform.system}.default;
              description = "The pxed to run.";
            };
            settings = lib.mkOption {
              type = (pkgs.formats.toml { }).type;
              default = { };
              description = "What pxed.toml says.";
            };
          };
          config = lib.mkIf cfg.enable {
            environment.systemPackages = [ cfg.package ];
            environment.etc."pxed/pxed.toml".source = file;
            users.groups.pxed = { };
            users.users.pxed = { isSystemUser = true; group = "pxed"; };
            systemd.packages = [ cfg.package ];
            systemd.services.pxed = {
              wantedBy = [ "multi-user.target" ];
              reloadTriggers = [ file ];
            };
          };
        };
    };
}
