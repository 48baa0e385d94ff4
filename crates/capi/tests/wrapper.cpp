// What the C++ wrapper must not let happen: wrapper BUNDLE PROMPT

#include "causalclipseg.hpp"

#include <chrono>
#include <cstdio>
#include <cstring>
#include <thread>

namespace ccs = causalclipseg;

namespace {

constexpr std::uint32_t width = 64, height = 48;
int failures = 0;

void expect(bool holds, const char *what) {
    if (!holds) {
        std::fprintf(stderr, "%s\n", what);
        ++failures;
    }
}

template <class Call> ccs_status status_of(Call call) {
    try {
        call();
    } catch (const ccs::Error &error) {
        return std::strlen(error.what()) > 0 ? error.status() : CCS_STATUS_INTERNAL;
    }
    return CCS_STATUS_OK;
}

// A stream that is assigned over is closed before its receiver goes, and so is one that is moved from.
void replace_streams(const ccs::Model &model, const std::string &prompt, const ccs_frame &frame) {
    const std::string capture(200, 'x');
    const auto receive = [capture](const ccs_event &) { expect(capture.size() == 200, "a receiver was gone"); };
    for (int round = 0; round < 10; ++round) {
        ccs::Stream live({&model}, {prompt}, receive);
        for (int number = 0; number < 3; ++number) {
            live.submit(frame, 0);
            std::this_thread::sleep_for(std::chrono::milliseconds(1));
        }
        live = ccs::Stream({&model}, {prompt}, receive);
        live.submit(frame, 0);
        ccs::Stream moved(std::move(live));
        moved.submit(frame, 0);
        expect(status_of([&] { live.submit(frame, 0); }) == CCS_STATUS_HANDLE, "a stream that was moved from runs");
    }
}

int run(const char *bundle, const std::string &prompt) {
    const ccs::Model model{std::string(bundle)};
    std::vector<std::uint8_t> pixels(width * height);
    for (std::size_t at = 0; at < pixels.size(); ++at) {
        pixels[at] = at % width < width / 2 ? 250 : 10;
    }
    const auto frame = ccs::frame(CCS_FORMAT_GRAY8, pixels.data(), pixels.size(), width, height);
    const auto encoded = model.prompt(prompt);

    // Options as the wrapper makes them are none.
    const auto options = ccs::sized<ccs_session_options>();
    ccs::Session plain(model), zeroed(model, &options);
    plain.segment(frame, {&encoded});
    zeroed.segment(frame, {&encoded});
    const auto area = plain.measure(0).area_px;
    expect(area > 0 && area < pixels.size(), "the model finds all or nothing");
    expect(zeroed.measure(0).area_px == area && zeroed.mask(0) == plain.mask(0), "zeroed options change the mask");

    // A prompt is of its model.
    const ccs::Model other{std::string(bundle)};
    const auto foreign = other.prompt(prompt);
    expect(status_of([&] { plain.segment(frame, {&foreign}); }) == CCS_STATUS_OTHER_MODEL, "a foreign prompt runs");
    expect(status_of([&] { plain.mask(0); }) == CCS_STATUS_NO_RESULT, "a failed call leaves a result");

    // Words after a zero byte are not lost in silence.
    const std::string cut = prompt + '\0' + " on the left";
    expect(status_of([&] { model.prompt(cut); }) == CCS_STATUS_ARGUMENT, "a prompt with a zero byte is taken");
    expect(status_of([&] { ccs::Stream({&model}, {cut}, [](const ccs_event &) {}); }) == CCS_STATUS_ARGUMENT,
           "a stream takes a prompt with a zero byte");

    ccs::Session taken(std::move(zeroed));
    expect(taken.measure(0).area_px == area, "a result is lost in a move");
    expect(status_of([&] { zeroed.mask(0); }) == CCS_STATUS_HANDLE, "a session that was moved from answers");
    plain = std::move(taken);
    expect(plain.measure(0).area_px == area, "a result is lost in an assignment");

    replace_streams(model, prompt, frame);
    return failures != 0;
}

} // namespace

int main(int argc, char **argv) {
    int status = 1;
    try {
        status = argc == 3 ? run(argv[1], argv[2]) : 2;
    } catch (const std::exception &error) {
        std::fprintf(stderr, "%s\n", error.what());
    }
    if (ccs_open_handles() != 0) {
        std::fprintf(stderr, "handles are left\n");
        status = 1;
    }
    return status;
}
